"""How columns become a network's inputs: the preprocessing that a model was trained with, as its file describes it."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InvalidInput
from chainrule.tables import X, array_of, columns_of, is_missing

__all__ = ["encode"]

Array = npt.NDArray[Any]
Feature = Mapping[str, Any]
NUMBERS = {"number": "a number", "integer": "an integer", "boolean": "true or false"}


def encode(data: Any, features: Sequence[Feature]) -> npt.NDArray[np.float64]:
    """The inputs (rows × inputs) for a table, whose other columns are left out.

    A numpy array is the one tensor that the model takes, or has a column for each feature, in order. Raises
    InvalidInput naming row and feature (`rows[3].age`) of a value that does not fit, or the feature that is absent.
    """
    columns = columns_of(data)
    names = [feature["name"] for feature in features]
    if list(columns) == [X] and names != [X]:
        columns = _cut(array_of(columns[X]), features)
    absent = [name for name in names if name not in columns]
    if absent:
        raise InvalidInput.of(absent[0], None, f"the columns that the model takes: {', '.join(names)}")
    arrays = [array_of(columns[name]) for name in names]
    return np.hstack([_encoded(array, feature) for array, feature in zip(arrays, features, strict=True)])


def _cut(array: Array, features: Sequence[Feature]) -> dict[str, Any]:
    """The columns of an array without names."""
    if len(features) == 1 and features[0]["type"] == "tensor":
        return {features[0]["name"]: array}
    if array.ndim != 2 or array.shape[1] != len(features):
        raise InvalidInput.of("data", f"an array of shape {array.shape}", f"rows × {len(features)}")
    return {feature["name"]: array[:, number] for number, feature in enumerate(features)}


def _encoded(values: Array, feature: Feature) -> npt.NDArray[np.float64]:
    """One feature's inputs, rows × width."""
    if feature["type"] == "category":
        return _one_hot(values, feature)
    numbers = _elements(values, feature) if feature["type"] == "tensor" else _numbers(values, feature)[:, np.newaxis]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite in the end is refused with its row
        return np.asarray((numbers - np.asarray(feature["mean"])) / np.asarray(feature["scale"]))


def _one_hot(values: Array, feature: Feature) -> npt.NDArray[np.float64]:
    """A category that training did not see sets no input; a missing one its own, if the training rows had any."""
    categories = feature["categories"]
    places = {category: place for place, category in enumerate(categories)}
    encoded = np.zeros((len(values), feature["width"]))
    for row, value in enumerate(values.tolist()):
        if is_missing(value):
            if feature["missing_category"]:
                encoded[row, len(categories)] = 1
        elif not isinstance(value, str):
            raise _mistake(row, feature, value, "a string, or None where it is missing")
        elif value in places:
            encoded[row, places[value]] = 1
    return encoded


def _numbers(values: Array, feature: Feature) -> npt.NDArray[np.float64]:
    """The column as numbers, what is missing filled."""
    expected = NUMBERS[feature["type"]]
    if values.ndim == 1 and values.dtype == object:
        for row, value in enumerate(values.tolist()):
            if not (is_missing(value) or _fits(value, feature)):
                raise _mistake(row, feature, value, f"{expected}, or None where it is missing")
        numbers = np.array([math.nan if is_missing(value) else value for value in values.tolist()], dtype=np.float64)
    elif values.ndim == 1 and values.dtype.kind in ("b" if feature["type"] == "boolean" else "iuf"):
        numbers = values.astype(np.float64)
    else:
        raise InvalidInput.of(feature["name"], f"{values.dtype} of shape {values.shape}", f"{expected} a row")
    missing = np.isnan(numbers)
    if feature["fill"] is not None:
        numbers[missing] = feature["fill"]
    elif missing.any():
        why = f"{expected}: the model was trained with preprocessing.missing = error"
        raise _mistake(int(missing.argmax()), feature, None, why)
    bad = ~np.isfinite(numbers)
    if feature["type"] == "integer":
        bad |= (numbers % 1 != 0) & ~missing
    if bad.any():
        row = int(bad.argmax())
        raise _mistake(row, feature, str(numbers[row]), f"{expected} that is finite")
    return numbers


def _fits(value: Any, feature: Feature) -> bool:
    """Whether a value is a number, and a truth value only where that is asked for."""
    if isinstance(value, bool | np.bool_):
        return bool(feature["type"] == "boolean")
    return feature["type"] != "boolean" and isinstance(value, int | float | Decimal | np.number)


def _elements(values: Array, feature: Feature) -> npt.NDArray[np.float64]:
    """A tensor's elements in row-major order, rows × width."""
    shape = tuple(feature["shape"])
    if values.dtype.kind not in "biuf" or values.shape[1:] != shape:
        got = f"{values.dtype} of shape {values.shape}"
        raise InvalidInput.of(feature["name"], got, f"numbers of shape rows × {' × '.join(map(str, shape))}")
    elements = values.reshape(len(values), -1).astype(np.float64)
    bad = ~np.isfinite(elements).all(axis=1)
    if bad.any():
        raise _mistake(int(bad.argmax()), feature, "numbers that are not finite", "finite numbers")
    return elements


def _mistake(row: int, feature: Feature, got: Any, expected: str) -> InvalidInput:
    return InvalidInput.of(f"rows[{row}].{feature['name']}", got, expected)
