"""A wrong field is named by its path, with what was got and what is expected, once for each mistake."""

from typing import Any

import pytest

from service.field_errors import validated
from shared.errors import InvalidInput
from shared.spec import JobSpec

GOOD: dict[str, Any] = {"dataset": "numbers", "target": "y"}
DENSE = {"type": "dense", "units": 4}

MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", "text of 1 to 200 characters"),
    ({"name": "a\0b"}, "name", "text without control characters and lone surrogates"),
    ({"name": "a\nb"}, "name", "text without control characters and lone surrogates"),
    ({"name": "\x1b[31m"}, "name", "text without control characters and lone surrogates"),
    ({"name": "\x85"}, "name", "text without control characters and lone surrogates"),
    ({"name": "\ud800"}, "name", "text of 1 to 200 characters without lone surrogates"),
    ({"labels": {"a b": "c"}}, "labels.a b", "a key that matches"),
    ({"labels": {"a": 1}}, "labels.a", "text of at most 200 characters"),
    ({"labels": {"a": "\t"}}, "labels.a", "text without control characters and lone surrogates"),
    ({"labels": []}, "labels", "an object of at most 64 fields"),
    ({"dataset": None}, "dataset", "text of 1 to 200 characters"),
    ({"dataset": "a\x7f"}, "dataset", "text without control characters and lone surrogates"),
    ({"target": 5}, "target", "text of 1 to 200 characters or a list of 1 to 10,000"),
    ({"target": ["a", 5]}, "target[1]", "text of 1 to 200 characters"),
    ({"target": "a\0"}, "target", "text without NUL and lone surrogates"),
    ({"target": ["a", "a"]}, "target", "column names that differ"),
    ({"features": []}, "features", "a list of 1 to 100,000"),
    ({"features": ["a", None]}, "features[1]", "text of 1 to 200 characters"),
    ({"task": "guess"}, "task", "one of auto, classification, regression"),
    ({"layers": 3}, "layers", "a list of at most 100"),
    ({"layers": [{**DENSE, "units": -3}]}, "layers[0].units", "an integer from 1 to 1,000,000"),
    ({"layers": [{"type": "dense"}]}, "layers[0].units", "an integer from 1 to 1,000,000"),
    ({"layers": [DENSE, {"type": "conv"}]}, "layers[1].type", "one of dense, dropout"),
    ({"layers": [{}]}, "layers[0].type", "one of dense, dropout"),
    ({"layers": ["dense"]}, "layers[0]", "an object whose type is one of dense, dropout"),
    ({"layers": [{**DENSE, "activation": "Relu"}]}, "layers[0].activation", "one of identity, relu, leaky_relu"),
    ({"layers": [{**DENSE, "rate": 1}]}, "layers[0].rate", "no such field; there are type, units, activation"),
    ({"layers": [{"type": "dropout", "rate": 1}]}, "layers[0].rate", "a number of at least 0 and below 1"),
    ({"loss": "mse"}, "loss", "an object whose type is one of auto, cross_entropy, huber, mae, mse"),
    ({"loss": {"type": "huber", "delta": "nan"}}, "loss.delta", "a number above 0 and at most 1,000,000,000"),
    ({"optimizer": {"type": "lion"}}, "optimizer.type", "one of adagrad, adam, adamw, rmsprop, sgd"),
    ({"optimizer": {"type": "adam", "beta1": 1.0}}, "optimizer.beta1", "a number of at least 0 and below 1"),
    ({"optimizer": {"type": "sgd", "nesterov": True}}, "optimizer.nesterov", "false, or momentum > 0"),
    ({"schedule": {"type": "step"}}, "schedule.every_epochs", "an integer from 1 to 1,000,000"),
    ({"l1": float("nan")}, "l1", "a number from 0 to 1,000,000,000"),
    ({"l2": -1}, "l2", "a number from 0 to 1,000,000,000"),
    ({"clip_norm": 0}, "clip_norm", "a number above 0 and at most 1,000,000,000, or null"),
    ({"batch_size": True}, "batch_size", "an integer from 1 to 1,000,000"),
    ({"epochs": "7"}, "epochs", "an integer from 1 to 1,000,000"),
    ({"epochs": 1.0}, "epochs", "an integer from 1 to 1,000,000"),
    ({"shuffle": 1}, "shuffle", "true or false"),
    ({"shards": 65}, "shards", "an integer from 1 to 64"),
    ({"workers": 0}, "workers", "an integer from 1 to 1,024 or an object with optionally min, max"),
    ({"workers": "4"}, "workers", "an integer from 1 to 1,024 or an object with optionally min, max"),
    ({"workers": {"min": 3, "max": 2}}, "workers.max", "at least min"),
    ({"workers": {"min": 0}}, "workers.min", "an integer from 1 to 1,024"),
    ({"validation": {"fraction": 1}}, "validation.fraction", "a number above 0 and below 1"),
    ({"validation": {"dataset": 4}}, "validation.dataset", "text of 1 to 200 characters"),
    ({"validation": 0.1}, "validation", "an object with fraction or an object with dataset, or null"),
    ({"validation": {}}, "validation", "an object with fraction or an object with dataset, or null"),
    ({"validation": {"fraction": 0.1, "dataset": "x"}}, "validation", "an object with fraction or an object with"),
    ({"early_stopping": {}}, "early_stopping", "a spec with validation"),
    (
        {"validation": {"fraction": 0.1}, "early_stopping": {"metric": "f1"}},
        "early_stopping.metric",
        "one of loss, accuracy, auc, rmse, mae, r2",
    ),
    ({"preprocessing": {"missing": "zero"}}, "preprocessing.missing", "one of mean, error"),
    (
        {"initial_parameters": {"weights": [[[1, "a"]]], "biases": [[0]]}},
        "initial_parameters.weights[0][0][1]",
        "a num",
    ),
    ({"initial_parameters": {"weights": [[[1]]]}}, "initial_parameters.biases", "a list of at least 1"),
    ({"dtype": "float16"}, "dtype", "one of float32, float64"),
    ({"seed": -1}, "seed", "an integer of at least 0 and below 9,223,372,036,854,775,808"),
    ({"seed": 2**80}, "seed", "an integer of at least 0 and below 9,223,372,036,854,775,808"),
    ({"priority": 0.5}, "priority", "an integer from -1,000,000 to 1,000,000"),
    ({"checkpoint": {"every_s": 0}}, "checkpoint.every_s", "a number above 0 and at most 86,400"),
    ({"max_runtime_s": -1}, "max_runtime_s", "a number above 0 and at most 1,000,000,000, or null"),
    ({"epoch": 3}, "epoch", "no such field; there are name, labels, dataset"),
]


def errors_of(data: Any) -> list[Any]:
    with pytest.raises(InvalidInput) as caught:
        validated(JobSpec, data)
    return list(caught.value.errors)


@pytest.mark.parametrize(("change", "field", "expected"), MISTAKES, ids=[f"{field}={c}" for c, field, _ in MISTAKES])
def test_one_mistake_is_one_error_that_names_the_field(change: dict[str, Any], field: str, expected: str) -> None:
    (error,) = errors_of({**GOOD, **change})
    assert error.field == field
    assert error.expected.startswith(expected)


def test_there_is_a_mistake_for_every_field_of_a_spec() -> None:
    tried = {field.split(".")[0].split("[")[0] for _, field, _ in MISTAKES}
    assert tried >= set(JobSpec.model_fields)


def test_all_mistakes_are_told_at_once() -> None:
    wrong = {"target": "y", "layers": [{**DENSE, "units": 0}, {"type": "dropout", "rate": -1}], "workers": -1}
    assert [(e.field, e.got) for e in errors_of(wrong)] == [
        ("dataset", None),
        ("layers[0].units", 0),
        ("layers[1].rate", -1),
        ("workers", -1),
    ]


@pytest.mark.parametrize("data", [[], None, 3, "spec"])
def test_what_is_no_object_at_all_is_the_bodys_mistake(data: Any) -> None:
    (error,) = errors_of(data)
    assert error.field == "body"


def test_a_column_is_called_as_its_file_calls_it() -> None:
    spec = validated(JobSpec, {**GOOD, "target": "two\r\nlines", "features": ["a\tb"]})
    assert (spec.target, spec.features) == ("two\r\nlines", ["a\tb"])


def test_a_good_spec_is_taken() -> None:
    assert validated(JobSpec, {**GOOD, "workers": 3}).workers.max == 3
