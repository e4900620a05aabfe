"""A wrong field is named by its path, with what was got and what is expected, once for each mistake."""

import re
import time
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from service.field_errors import validated
from shared.errors import InvalidInput
from shared.spec import JobSpec

GOOD: dict[str, Any] = {"dataset": "numbers", "target": "y"}
DENSE = {"type": "dense", "units": 4}

SHARE = "a number of at least 0 and below 1"
POSITIVE = "a number above 0 and at most 1,000,000,000"
NOT_NEGATIVE = "a number from 0 to 1,000,000,000"
RATE = "a number from 0 to 1,000,000"
FRACTION = "a number above 0 and at most 1"
COUNT = "an integer from 1 to 1,000,000"

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
    ({"layers": [{**DENSE, "units": -3}]}, "layers[0].units", COUNT),
    ({"layers": [{"type": "dense"}]}, "layers[0].units", COUNT),
    ({"layers": [DENSE, {"type": "conv"}]}, "layers[1].type", "one of dense, dropout"),
    ({"layers": [{}]}, "layers[0].type", "one of dense, dropout"),
    ({"layers": ["dense"]}, "layers[0]", "an object whose type is one of dense, dropout"),
    ({"layers": [{**DENSE, "activation": "Relu"}]}, "layers[0].activation", "one of identity, relu, leaky_relu"),
    ({"layers": [{**DENSE, "rate": 1}]}, "layers[0].rate", "no such field; there are type, units, activation"),
    ({"layers": [{"type": "dropout", "rate": 1}]}, "layers[0].rate", SHARE),
    ({"loss": "mse"}, "loss", "an object whose type is one of auto, cross_entropy, huber, mae, mse"),
    ({"loss": {"type": "hinge"}}, "loss.type", "one of auto, cross_entropy, huber, mae, mse"),
    ({"loss": {"type": "huber", "delta": "nan"}}, "loss.delta", POSITIVE),
    ({"optimizer": "adam"}, "optimizer", "an object whose type is one of adagrad, adam, adamw, rmsprop, sgd"),
    ({"optimizer": {"type": "lion"}}, "optimizer.type", "one of adagrad, adam, adamw, rmsprop, sgd"),
    ({"optimizer": {"type": "sgd", "learning_rate": -1}}, "optimizer.learning_rate", RATE),
    ({"optimizer": {"type": "sgd", "momentum": "0.9"}}, "optimizer.momentum", SHARE),
    ({"optimizer": {"type": "adam", "learning_rate": None}}, "optimizer.learning_rate", RATE),
    ({"optimizer": {"type": "adam", "beta2": -0.1}}, "optimizer.beta2", SHARE),
    ({"optimizer": {"type": "adam", "epsilon": 0}}, "optimizer.epsilon", POSITIVE),
    ({"optimizer": {"type": "adamw", "learning_rate": 1e7}}, "optimizer.learning_rate", RATE),
    ({"optimizer": {"type": "adamw", "beta1": 1}}, "optimizer.beta1", SHARE),
    ({"optimizer": {"type": "adamw", "beta2": True}}, "optimizer.beta2", SHARE),
    (
        {"optimizer": {"type": "adamw", "epsilon": []}},
        "optimizer.epsilon",
        POSITIVE,
    ),
    (
        {"optimizer": {"type": "adamw", "weight_decay": -1}},
        "optimizer.weight_decay",
        NOT_NEGATIVE,
    ),
    (
        {"optimizer": {"type": "rmsprop", "learning_rate": "a"}},
        "optimizer.learning_rate",
        RATE,
    ),
    ({"optimizer": {"type": "rmsprop", "decay": 1}}, "optimizer.decay", SHARE),
    (
        {"optimizer": {"type": "rmsprop", "epsilon": 0.0}},
        "optimizer.epsilon",
        POSITIVE,
    ),
    (
        {"optimizer": {"type": "adagrad", "learning_rate": {}}},
        "optimizer.learning_rate",
        RATE,
    ),
    (
        {"optimizer": {"type": "adagrad", "epsilon": -1e-10}},
        "optimizer.epsilon",
        POSITIVE,
    ),
    ({"optimizer": {"type": "adam", "beta1": 1.0}}, "optimizer.beta1", SHARE),
    ({"optimizer": {"type": "sgd", "nesterov": True}}, "optimizer.nesterov", "false, or momentum > 0"),
    ({"schedule": None}, "schedule", "an object whose type is one of constant, cosine, exponential, step"),
    ({"schedule": {"type": "linear"}}, "schedule.type", "one of constant, cosine, exponential, step"),
    (
        {"schedule": {"type": "step", "every_epochs": 1, "factor": 0}},
        "schedule.factor",
        FRACTION,
    ),
    ({"schedule": {"type": "exponential", "decay": 2}}, "schedule.decay", FRACTION),
    (
        {"schedule": {"type": "cosine", "warmup_steps": 1.5}},
        "schedule.warmup_steps",
        "an integer from 0 to 1,000,000,000",
    ),
    ({"schedule": {"type": "cosine", "final_fraction": 2}}, "schedule.final_fraction", "a number from 0 to 1"),
    ({"schedule": {"type": "step"}}, "schedule.every_epochs", COUNT),
    ({"l1": float("nan")}, "l1", NOT_NEGATIVE),
    ({"l2": -1}, "l2", NOT_NEGATIVE),
    ({"clip_norm": 0}, "clip_norm", "a number above 0 and at most 1,000,000,000, or null"),
    ({"batch_size": True}, "batch_size", COUNT),
    ({"epochs": "7"}, "epochs", COUNT),
    ({"epochs": 1.0}, "epochs", COUNT),
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
    ({"early_stopping": {}}, "early_stopping", "a spec with validation, or the metric train_loss"),
    (
        {"validation": {"fraction": 0.1}, "early_stopping": {"metric": "f1"}},
        "early_stopping.metric",
        "one of loss, accuracy, auc, rmse, mae, r2, train_loss",
    ),
    (
        {"validation": {"fraction": 0.1}, "early_stopping": {"patience": 0}},
        "early_stopping.patience",
        COUNT,
    ),
    (
        {"validation": {"fraction": 0.1}, "early_stopping": {"min_delta": -1}},
        "early_stopping.min_delta",
        NOT_NEGATIVE,
    ),
    ({"preprocessing": True}, "preprocessing", "an object with optionally standardize, missing"),
    ({"preprocessing": {"standardize": 1}}, "preprocessing.standardize", "true or false"),
    ({"preprocessing": {"missing": "zero"}}, "preprocessing.missing", "one of mean, error"),
    (
        {"initial_parameters": {"weights": [[[1, "a"]]], "biases": [[0]]}},
        "initial_parameters.weights[0][0][1]",
        "a num",
    ),
    ({"initial_parameters": [[1]]}, "initial_parameters", "an object with weights, biases, or null"),
    ({"initial_parameters": {"weights": [[[1]]]}}, "initial_parameters.biases", "a list of at least 1"),
    ({"dtype": "float16"}, "dtype", "one of float32, float64"),
    ({"seed": -1}, "seed", "an integer of at least 0 and below 9,223,372,036,854,775,808"),
    ({"seed": 2**80}, "seed", "an integer of at least 0 and below 9,223,372,036,854,775,808"),
    ({"priority": 0.5}, "priority", "an integer from -1,000,000 to 1,000,000"),
    ({"checkpoint": 30}, "checkpoint", "an object with optionally every_s"),
    ({"checkpoint": {"every_s": 0}}, "checkpoint.every_s", "a number above 0 and at most 86,400"),
    ({"max_wait_s": 0}, "max_wait_s", "a number above 0 and at most 1,000,000,000, or null"),
    ({"max_runtime_s": -1}, "max_runtime_s", "a number above 0 and at most 1,000,000,000, or null"),
    ({"epoch": 3}, "epoch", "no such field; did you mean epochs? There are name, labels, dataset"),
]
SAID = {"labels.a b": "a b", "early_stopping": "early_stopping without validation"}  # where not the value is wrong


def errors_of(data: Any) -> list[Any]:
    with pytest.raises(InvalidInput) as caught:
        validated(JobSpec, data)
    return list(caught.value.errors)


@pytest.mark.parametrize(("change", "field", "expected"), MISTAKES, ids=[f"{field}={c}" for c, field, _ in MISTAKES])
def test_one_mistake_is_one_error_that_names_the_field(change: dict[str, Any], field: str, expected: str) -> None:
    data = {**GOOD, **change}
    (error,) = errors_of(data)
    assert error.field == field
    assert error.got == SAID.get(field, got(data, field)) or error.got is got(data, field)  # NaN equals nothing
    assert error.expected.startswith(expected)


def steps_of(path: str) -> list[str | int]:
    """`layers[1].units` as layers, 1, units."""
    return [int(index) if index else key for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]


def got(data: Any, path: str) -> Any:
    """What stands in `data` at that path; None if nothing does."""
    for step in steps_of(path):
        data = data[step] if isinstance(step, int) else data.get(step)
    return data


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """The models that a field of that type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in models_in(part)}


def fields_of(model: type[BaseModel]) -> set[tuple[str, str]]:
    """Every field of a model and of all that it may hold, each with the model that it is of."""
    held = {held for field in model.model_fields.values() for held in models_in(field.annotation)}
    return {(model.__name__, name) for name in model.model_fields}.union(*map(fields_of, held))


def fields_at(data: Any, path: str) -> set[tuple[str, str]]:
    """The fields that `path` may mean in `data`, each with the model that it is of: several where the model is open."""
    models: set[type[BaseModel]] = {JobSpec}
    fields: set[tuple[str, str]] = set()
    for step in steps_of(path):
        if isinstance(step, str) and models:
            tag = data.get("type") if step != "type" else None
            meant = {model for model in models if step in model.model_fields and tag in (None, tag_of(model))}
            fields = {(model.__name__, step) for model in meant}
            models = {held for model in meant for held in models_in(model.model_fields[step].annotation)}
        data = data[step] if isinstance(step, int) else data.get(step)
    return fields


def tag_of(model: type[BaseModel]) -> str | None:
    """The `type` of a model that is one of several."""
    return get_args(model.model_fields["type"].annotation)[0] if "type" in model.model_fields else None


def test_there_is_a_mistake_for_every_field_of_a_spec_and_of_all_that_it_may_hold() -> None:
    tried = [fields_at({**GOOD, **change}, field) for change, field, _ in MISTAKES]
    assert fields_of(JobSpec) - set().union(*tried) == set()


def test_all_mistakes_are_told_at_once() -> None:
    wrong = {"target": "y", "layers": [{**DENSE, "units": 0}, {"type": "dropout", "rate": -1}], "workers": -1}
    assert [(e.field, e.got) for e in errors_of(wrong)] == [
        ("dataset", None),
        ("layers[0].units", 0),
        ("layers[1].rate", -1),
        ("workers", -1),
    ]


def test_of_very_many_mistakes_fifty_are_told_and_the_others_cost_no_words() -> None:
    wrong = {**GOOD, **{f"epoch{number}": 3 for number in range(30_000)}}
    began = time.process_time()
    assert len(errors_of(wrong)) == 50
    assert time.process_time() - began < 3  # to find the field that was meant takes a millisecond for each


@pytest.mark.parametrize("data", [[], None, 3, "spec"])
def test_what_is_no_object_at_all_is_the_bodys_mistake(data: Any) -> None:
    (error,) = errors_of(data)
    assert error.field == "body"


def test_a_column_is_called_as_its_file_calls_it() -> None:
    spec = validated(JobSpec, {**GOOD, "target": "two\r\nlines", "features": ["a\tb"]})
    assert (spec.target, spec.features) == ("two\r\nlines", ["a\tb"])


def test_a_good_spec_is_taken() -> None:
    assert validated(JobSpec, {**GOOD, "workers": 3}).workers.max == 3
