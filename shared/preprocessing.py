"""How columns become the network's numbers, and its outputs become values again: fitted once, kept with the model.

A column's values come as an array: number, integer and boolean as float64 with NaN where missing; a category as int32
positions within the fitted categories (see `FittedFeature.position`); a tensor as rows × elements.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shared.errors import FieldError, InvalidInput
from shared.spec import Record
from shared.table import ColumnType

__all__ = ["UNSEEN", "Class", "FittedFeature", "FittedPreprocessing", "FittedTarget", "columns_from_rows"]

Class = str | int | bool | float
UNSEEN = -1  # position of a category that the training rows do not have: no input is set
MAX_ERRORS = 20  # mistakes that are told at once


class FittedFeature(Record):
    """One feature: which inputs of the network it feeds, and how."""

    name: str
    """The column."""
    type: ColumnType
    """Its type in the training data."""
    shape: list[int] | None = None
    """Shape of one row's value (tensor)."""
    width: int
    """How many inputs it feeds."""
    mean: tuple[float, ...] = (0.0,)
    """What is subtracted: one number, or one for each element of a tensor of rank 1."""
    scale: tuple[float, ...] = (1.0,)
    """What it is then divided by."""
    fill: float | None = None
    """What stands for a missing number; null where a missing one is an error."""
    categories: list[str] | None = None
    """The categories of the training rows, sorted; each feeds one input (category)."""
    missing_category: bool = False
    """Whether missing is one more category, the last, because training rows had it (category)."""

    @property
    def missing_position(self) -> int:
        """The position of a missing category."""
        return len(self.categories or ()) if self.missing_category else UNSEEN

    def encode(self, values: npt.NDArray[Any], out: npt.NDArray[np.floating]) -> None:
        """Writes the column's inputs into `out` (rows × width)."""
        if self.type == "category":
            out[...] = 0
            rows = np.flatnonzero(values != UNSEEN)
            out[rows, values[rows]] = 1
            return
        if values.ndim == 1:
            if self.fill is not None:
                values = np.where(np.isnan(values), self.fill, values)
            values = values[:, np.newaxis]
        with np.errstate(over="ignore"):  # what is too large for the dtype becomes infinite; the caller looks
            encoded = np.subtract(values, np.asarray(self.mean), dtype=np.float64)
            encoded /= np.asarray(self.scale)
            out[...] = encoded


class FittedTarget(Record):
    """One target: the classes to tell apart, or how its number was standardized."""

    name: str
    """The column."""
    type: ColumnType
    """Its type in the training data."""
    classes: list[str] | list[int] | list[bool] | list[float] | None = None
    """The classes in the order of the network's outputs; null for a regression."""
    mean: float = 0.0
    """What was subtracted from the target (regression)."""
    scale: float = 1.0
    """What it was then divided by (regression)."""


class FittedPreprocessing(Record):
    """The whole way from columns to inputs and from outputs to predictions, as JSON data."""

    task: Literal["classification", "regression"]
    features: list[FittedFeature]
    """In the order of the network's inputs."""
    targets: list[FittedTarget]
    """In the order of the network's outputs; one for a classification."""

    @property
    def inputs(self) -> int:
        """Width of the network's input."""
        return sum(feature.width for feature in self.features)

    @property
    def outputs(self) -> int:
        """Width of the network's output: one for two classes."""
        classes = self.classes
        return len(self.targets) if classes is None else 1 if len(classes) == 2 else len(classes)

    @property
    def classes(self) -> Sequence[Class] | None:
        """The classes in the order of the network's outputs; None for a regression."""
        return self.targets[0].classes

    def standardization(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """What is subtracted from each of the network's inputs, and what it is then divided by: (inputs,) each."""
        mean = [np.broadcast_to(np.array(feature.mean), feature.width) for feature in self.features]
        scale = [np.broadcast_to(np.array(feature.scale), feature.width) for feature in self.features]
        return np.concatenate(mean), np.concatenate(scale)

    def encode_features(self, columns: Mapping[str, npt.NDArray[Any]], out: npt.NDArray[np.floating]) -> None:
        """Writes the inputs (rows × inputs, of any floating dtype); the arithmetic is float64 throughout.

        `columns` holds an array for every feature by name. A value that is too large for `out` becomes infinite, a
        missing number for which there is no fill NaN: callers that cannot rule that out must check.
        """
        start = 0
        for feature in self.features:
            feature.encode(columns[feature.name], out[:, start : start + feature.width])
            start += feature.width

    def encode_targets(self, columns: Mapping[str, npt.NDArray[Any]], out: npt.NDArray[Any]) -> None:
        """Writes what the network should say: class codes (rows,) for a classification, else rows × outputs."""
        if self.classes is not None:
            out[...] = columns[self.targets[0].name]
            return
        with np.errstate(over="ignore"):
            for index, target in enumerate(self.targets):
                out[:, index] = (columns[target.name] - target.mean) / target.scale

    def decode(self, values: npt.NDArray[np.floating]) -> list[dict[str, Any]]:
        """The predictions, as JSON data in the targets' own units.

        `values`: probabilities (rows × classes) of a classification, or the network's outputs (rows × outputs) of a
        regression. Raises InvalidInput naming the rows for which the network's numbers overflowed.
        """
        numbers = values.astype(np.float64, copy=False)
        bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
        if len(bad):
            expected = "values nearer to those of the training data: with these the network's output is not finite"
            raise InvalidInput.of(f"rows[{bad[0]}]", float(numbers[bad[0]].max()), expected)
        return self._regressed(numbers) if self.classes is None else self._classified(numbers, self.classes)

    def _classified(self, probabilities: npt.NDArray[np.float64], classes: Sequence[Class]) -> list[dict[str, Any]]:
        keys = [key_of(value) for value in classes]
        best = probabilities.argmax(axis=1)
        return [
            {"value": classes[index], "probabilities": dict(zip(keys, row, strict=True))}
            for index, row in zip(best.tolist(), probabilities.tolist(), strict=True)
        ]

    def _regressed(self, outputs: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
        scale = np.array([target.scale for target in self.targets])
        rows = (outputs * scale + np.array([target.mean for target in self.targets])).tolist()
        if len(self.targets) == 1:
            return [{"value": row[0]} for row in rows]
        names = [target.name for target in self.targets]
        return [{"value": dict(zip(names, row, strict=True))} for row in rows]


def key_of(value: Class) -> str:
    """A class as the key of a JSON object: strings as they are, others as JSON writes them (`true`, `7`)."""
    return value if isinstance(value, str) else json.dumps(value)


# ---------------------------------------------------------------- rows to predict, as a user sends them in JSON
class _Mistake(Exception):
    """What was expected instead of a value."""


def columns_from_rows(rows: Sequence[Mapping[str, Any]], fitted: FittedPreprocessing) -> dict[str, npt.NDArray[Any]]:
    """The columns that `FittedPreprocessing.encode_features` takes, from one JSON object a row.

    null is a missing value; a category that training did not see is no mistake; an integer may be written as 3.0.
    Raises InvalidInput naming `rows[3].age` for an unknown column, a feature left out, a value of another type or a
    number that is not finite.
    """
    if not rows:
        raise InvalidInput.of("rows", [], "at least one row")
    errors: list[FieldError] = []
    _check_names(rows, fitted, errors)
    values = [_values(rows, feature, errors) for feature in fitted.features]
    if errors:
        raise InvalidInput(errors[:MAX_ERRORS])
    return {
        feature.name: np.array(each, np.int32 if feature.type == "category" else np.float64)
        for feature, each in zip(fitted.features, values, strict=True)
    }


def _check_names(rows: Sequence[Mapping[str, Any]], fitted: FittedPreprocessing, errors: list[FieldError]) -> None:
    names = [feature.name for feature in fitted.features]
    known = set(names)
    targets = {target.name for target in fitted.targets}
    for index, row in enumerate(rows):
        for name in [name for name in row if name not in known] if row.keys() != known else ():
            what = (
                "no value for the target, which is what is predicted"
                if name in targets
                else "only the features of the model"
            )
            errors.append(FieldError(f"rows[{index}].{name}", row[name], what))
        errors.extend(
            FieldError(f"rows[{index}].{name}", None, "a value for each feature of the model: null where it is missing")
            for name in ([name for name in names if name not in row] if row.keys() != known else ())
        )
        if len(errors) >= MAX_ERRORS:
            return


def _values(rows: Sequence[Mapping[str, Any]], feature: FittedFeature, errors: list[FieldError]) -> list[Any]:
    """What the rows have of one feature, of each a number or a tensor's elements; mistakes are added to `errors`."""
    values: list[Any] = []
    positions = {name: position for position, name in enumerate(feature.categories or ())}
    for index, row in enumerate(rows):
        if feature.name not in row or len(errors) >= MAX_ERRORS:
            continue
        try:
            if feature.type == "category":
                values.append(_position(row[feature.name], feature, positions))
            elif feature.type == "tensor":
                values.append(_elements(row[feature.name], feature))
            else:
                values.append(_number(row[feature.name], feature))
        except _Mistake as mistake:
            errors.append(FieldError(f"rows[{index}].{feature.name}", row[feature.name], str(mistake)))
    return values


def _position(value: Any, feature: FittedFeature, positions: Mapping[str, int]) -> int:
    if value is None:
        return feature.missing_position
    if not isinstance(value, str):
        raise _Mistake("a string, or null where it is missing")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _Mistake("a string without lone surrogates")
    return positions.get(value, UNSEEN)


def _number(value: Any, feature: FittedFeature) -> float:
    boolean = feature.type == "boolean"
    what = {"boolean": "true or false", "integer": "an integer"}.get(feature.type, "a number")
    if value is None:
        if feature.fill is None:
            raise _Mistake(f"{what}: the model was trained with preprocessing.missing = error")
        return math.nan
    if isinstance(value, bool) != boolean or not isinstance(value, int | float):
        raise _Mistake(f"{what}, or null where it is missing")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Mistake("a finite number")
    if feature.type == "integer" and not number.is_integer():
        raise _Mistake("an integer, or null where it is missing")
    return number


def _elements(value: Any, feature: FittedFeature) -> npt.NDArray[np.float64]:
    """A tensor's elements in row-major order."""
    shape = feature.shape or []
    elements: list[Any] = [value]
    for length in shape:
        if not all(isinstance(part, list) and len(part) == length for part in elements):
            raise _Mistake(f"nested lists of numbers of shape {shape}")
        elements = list(chain.from_iterable(elements))
    if not set(map(type, elements)) <= {int, float, bool} or (
        bool in map(type, elements) and len({*map(type, elements)}) > 1
    ):
        raise _Mistake(f"nested lists of numbers of shape {shape}")
    try:
        array = np.array(elements, dtype=np.float64)
    except OverflowError:
        raise _Mistake("finite numbers") from None
    if not np.isfinite(array).all():
        raise _Mistake("finite numbers")
    return array
