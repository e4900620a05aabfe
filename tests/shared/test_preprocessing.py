"""Columns become inputs, and outputs predictions, by numbers worked out by hand."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from shared.errors import FieldError, InvalidInput
from shared.preprocessing import UNSEEN, FittedFeature, FittedPreprocessing, FittedTarget, columns_from_rows

AGE = FittedFeature(name="age", type="integer", width=1, mean=(40.0,), scale=(10.0,), fill=40.0)
JOB = FittedFeature(name="job", type="category", width=3, categories=["a", "b"], missing_category=True)
OWNS = FittedFeature(name="owns", type="boolean", width=1, fill=0.25)
IMAGE = FittedFeature(name="image", type="tensor", shape=[1, 2], width=2, mean=(2.0,), scale=(4.0,))
SIGNAL = FittedFeature(name="signal", type="tensor", shape=[2], width=2, mean=(1.0, 2.0), scale=(1.0, 2.0))
FEATURES = [AGE, JOB, OWNS, IMAGE, SIGNAL]


def fitted(*targets: FittedTarget, features: list[FittedFeature] = FEATURES) -> FittedPreprocessing:
    task = "regression" if targets[0].classes is None else "classification"
    return FittedPreprocessing(task=task, features=features, targets=list(targets))


INCOME = fitted(FittedTarget(name="income", type="category", classes=["<=50K", ">50K"]))
ROW: dict[str, Any] = {"age": 50, "job": "b", "owns": True, "image": [[2, 6]], "signal": [2.0, 2.0]}


def encoded(rows: list[dict[str, Any]]) -> np.ndarray:
    out = np.full((len(rows), INCOME.inputs), np.nan)
    INCOME.encode_features(columns_from_rows(rows, INCOME), out)
    return out


def mistake(rows: list[Any], preprocessing: FittedPreprocessing = INCOME) -> FieldError:
    with pytest.raises(InvalidInput) as refused:
        columns_from_rows(rows, preprocessing)
    return refused.value.errors[0]


# ---------------------------------------------------------------- encoding
def test_each_type_is_encoded_in_its_own_way() -> None:
    assert encoded([ROW]).tolist() == [[1.0, 0, 1, 0, 1, 0.0, 1.0, 1.0, 0.0]]


def test_missing_numbers_take_the_mean_and_missing_categories_their_own_place() -> None:
    row = encoded([ROW | {"age": None, "job": None, "owns": None}])[0]
    assert row[:5].tolist() == [0.0, 0, 0, 1, 0.25]


def test_a_category_that_training_did_not_see_is_all_zeros() -> None:
    assert encoded([ROW | {"job": "zzz"}])[0, 1:4].tolist() == [0, 0, 0]


def test_a_missing_category_that_training_did_not_see_is_all_zeros() -> None:
    job = FittedFeature(name="job", type="category", width=2, categories=["a", "b"])
    assert job.missing_position == UNSEEN
    out = np.empty((1, 2))
    job.encode(np.array([job.missing_position], np.int32), out)
    assert out.tolist() == [[0, 0]]


def test_a_value_too_large_for_float32_becomes_infinite_without_a_warning() -> None:
    out = np.empty((1, 1), np.float32)
    OWNS.encode(np.array([1e300]), out)
    assert out[0, 0] == math.inf


def test_targets_are_standardized_or_class_codes() -> None:
    two = fitted(FittedTarget(name="a", type="number", mean=1, scale=2), FittedTarget(name="b", type="number"))
    out = np.empty((2, 2))
    two.encode_targets({"a": np.array([1.0, 5.0]), "b": np.array([7.0, 8.0])}, out)
    assert out.tolist() == [[0, 7], [2, 8]]
    codes = np.empty(2, np.int32)
    INCOME.encode_targets({"income": np.array([1, 0], np.int32)}, codes)
    assert codes.tolist() == [1, 0]


def test_the_whole_survives_json() -> None:
    for classes in (["x", "y"], [1, 2], [False, True], [0.5, 1.0]):
        whole = fitted(FittedTarget(name="t", type="category", classes=classes))
        again = FittedPreprocessing.model_validate_json(whole.model_dump_json())
        assert again == whole
        assert list(map(type, again.classes or ())) == list(map(type, classes))


def test_widths_follow_from_the_columns() -> None:
    assert (INCOME.inputs, INCOME.outputs, INCOME.classes) == (9, 1, ["<=50K", ">50K"])
    assert fitted(FittedTarget(name="t", type="integer", classes=[1, 2, 3])).outputs == 3
    assert fitted(FittedTarget(name="t", type="number"), FittedTarget(name="u", type="number")).outputs == 2


# ---------------------------------------------------------------- decoding
def test_a_classification_is_told_with_its_probabilities() -> None:
    assert INCOME.decode(np.array([[0.9, 0.1], [0.2, 0.8]])) == [
        {"value": "<=50K", "probabilities": {"<=50K": 0.9, ">50K": 0.1}},
        {"value": ">50K", "probabilities": {"<=50K": 0.2, ">50K": 0.8}},
    ]


def test_classes_keep_their_type_and_keys_are_json() -> None:
    booleans = fitted(FittedTarget(name="t", type="boolean", classes=[False, True]))
    assert booleans.decode(np.array([[0.25, 0.75]])) == [
        {"value": True, "probabilities": {"false": 0.25, "true": 0.75}}
    ]
    digits = fitted(FittedTarget(name="t", type="integer", classes=[3, 7]))
    assert digits.decode(np.array([[0.75, 0.25]])) == [{"value": 3, "probabilities": {"3": 0.75, "7": 0.25}}]


def test_a_regression_is_told_in_its_own_units() -> None:
    one = fitted(FittedTarget(name="a", type="number", mean=1.0, scale=2.0))
    assert one.decode(np.array([[0.5]], np.float32)) == [{"value": 2.0}]
    two = fitted(FittedTarget(name="a", type="number", mean=1.0, scale=2.0), FittedTarget(name="b", type="number"))
    assert two.decode(np.array([[0.5, 3.0]])) == [{"value": {"a": 2.0, "b": 3.0}}]


def test_outputs_that_overflowed_are_no_predictions() -> None:
    with pytest.raises(InvalidInput, match=r"rows\[1\]"):
        INCOME.decode(np.array([[0.5, 0.5], [np.nan, np.nan]]))


# ---------------------------------------------------------------- rows
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("age", "50", "an integer, or null"),
        ("age", True, "an integer, or null"),
        ("age", [1], "an integer, or null"),
        ("age", 50.5, "an integer, or null"),
        ("age", 10**400, "a finite number"),
        ("age", math.nan, "a finite number"),
        ("owns", 1, "true or false, or null"),
        ("job", 7, "a string, or null"),
        ("job", "\udc80", "a string without lone surrogates"),
        ("image", None, "shape [1, 2]"),
        ("image", [2, 6], "shape [1, 2]"),
        ("image", [[2, 6, 7]], "shape [1, 2]"),
        ("image", [[2, "6"]], "shape [1, 2]"),
        ("image", [[2, [6]]], "shape [1, 2]"),
        ("image", [[2, True]], "shape [1, 2]"),
        ("image", [[2, math.inf]], "finite numbers"),
        ("image", [[2, 10**400]], "finite numbers"),
    ],
)
def test_a_wrong_value_is_named_by_row_and_column(name: str, value: Any, expected: str) -> None:
    error = mistake([ROW, ROW | {name: value}])
    assert error.field == f"rows[1].{name}"
    assert expected in error.expected


def test_an_integer_may_be_written_with_a_point() -> None:
    np.testing.assert_array_equal(encoded([ROW | {"age": 50.0}]), encoded([ROW]))


def test_an_unknown_column_a_target_and_a_feature_left_out_are_named() -> None:
    assert mistake([ROW | {"agee": 1}]).field == "rows[0].agee"
    assert "target" in mistake([ROW | {"income": "<=50K"}]).expected
    assert mistake([ROW, {name: ROW[name] for name in ROW if name != "age"}]).field == "rows[1].age"


def test_null_is_a_mistake_where_training_forbade_it() -> None:
    strict = fitted(FittedTarget(name="t", type="number"), features=[FittedFeature(name="x", type="number", width=1)])
    assert mistake([{"x": None}], strict).field == "rows[0].x"


def test_no_rows_are_a_mistake() -> None:
    assert mistake([]).field == "rows"


@pytest.mark.parametrize("row", [{}, {"image": None}, {"image": [], "no": 1}])
def test_rows_without_a_large_tensor_take_no_memory_for_it(row: dict[str, Any]) -> None:
    image = FittedFeature(name="image", type="tensor", shape=[1_000_000], width=1_000_000)
    tracemalloc.start()
    try:
        assert mistake([row] * 10_000, fitted(FittedTarget(name="t", type="number"), features=[image]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_not_every_mistake_of_a_large_request_is_told() -> None:
    with pytest.raises(InvalidInput) as refused:
        columns_from_rows([ROW | {"age": "x"}] * 1000, INCOME)
    assert len(refused.value.errors) == 20
