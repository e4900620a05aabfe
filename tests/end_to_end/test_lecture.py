"""The lecture's worked examples, over REST, digit for digit."""

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from support.running_service import ROOT, RunningService

pytestmark = pytest.mark.ray

EXAMPLES = {
    example["name"]: example for example in json.loads((ROOT / "examples" / "lecture.json").read_text())["examples"]
}
EXACT = {"rtol": 0, "atol": 1e-12}


def spec_of(service: RunningService, example: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The example as a job: its rows as a CSV data set, one full batch a step, no shuffling, no standardizing."""
    inputs, outputs = len(example["x"][0]), len(example["y"][0])
    features = [f"x{number}" for number in range(1, inputs + 1)]
    targets = [f"y{number}" for number in range(1, outputs + 1)]
    lines = [",".join(features + targets)]
    lines += [",".join(map(repr, x + y)) for x, y in zip(example["x"], example["y"], strict=True)]
    uploaded = service.http.post(
        "/v1/datasets",
        params={"name": example["name"]},
        headers={"Content-Type": "text/csv"},
        content="\n".join(lines) + "\n",
    )
    assert uploaded.status_code in (200, 201), uploaded.text
    spec: dict[str, Any] = {
        "name": example["name"],
        "dataset": example["name"],
        "target": targets if outputs > 1 else targets[0],
        "task": "regression",
        "layers": example["layers"],
        "optimizer": example.get("optimizer", {"type": "sgd", "learning_rate": 0.01}),
        "batch_size": len(example["x"]),
        "epochs": 1,
        "shuffle": False,
        "dtype": "float64",
        "preprocessing": {"standardize": False},
        "workers": 2,
    }
    if "initial_parameters" in example:
        spec["initial_parameters"] = {name: example["initial_parameters"][name] for name in ("weights", "biases")}
    return {**spec, **changes}


def parameters(service: RunningService, job_id: str) -> tuple[list[Any], list[Any]]:
    """Weights and biases of a trained job, from its model file."""
    response = service.http.get(f"/v1/jobs/{job_id}/model")
    assert response.status_code == 200
    tensors = load(response.content)
    layers = len(tensors) // 2
    return [tensors[f"layers.{n}.weights"] for n in range(layers)], [tensors[f"layers.{n}.bias"] for n in range(layers)]


def predictions(service: RunningService, example: dict[str, Any], job_id: str) -> np.ndarray[Any, Any]:
    rows = [{f"x{n}": value for n, value in enumerate(x, 1)} for x in example["x"]]
    values = service.predict(job_id, rows)
    return np.array([list(value.values()) if isinstance(value, dict) else [value] for value in values])


@pytest.mark.parametrize("name", ["example-1-one-sample", "example-2-batch-of-three", "example-3-hidden-layer"])
def test_the_untrained_network_predicts_and_loses_as_the_lecture_says(service: RunningService, name: str) -> None:
    example = EXAMPLES[name]
    job = service.trained(**spec_of(service, example, optimizer={"type": "sgd", "learning_rate": 0}))
    np.testing.assert_allclose(predictions(service, example, job["id"]), example["prediction"], **EXACT)
    assert job["metrics"]["train_loss"] == pytest.approx(example["loss_before"], rel=0, abs=1e-12)


@pytest.mark.parametrize("name", ["example-1-one-sample", "example-2-batch-of-three"])
def test_one_step_gives_the_lectures_parameters(service: RunningService, name: str) -> None:
    example = EXAMPLES[name]
    job = service.trained(**spec_of(service, example))
    weights, biases = parameters(service, job["id"])
    np.testing.assert_allclose(weights[0], example["after_one_step"]["weights"][0], **EXACT)
    np.testing.assert_allclose(biases[0], example["after_one_step"]["biases"][0], **EXACT)


@pytest.mark.parametrize("name", ["example-1-one-sample", "example-2-batch-of-three", "example-3-hidden-layer"])
def test_one_step_moves_by_the_lectures_gradient(service: RunningService, name: str) -> None:
    example, rate = EXAMPLES[name], 0.01
    job = service.trained(**spec_of(service, example, optimizer={"type": "sgd", "learning_rate": rate}))
    for after, before, gradient in zip(
        [*parameters(service, job["id"])[0], *parameters(service, job["id"])[1]],
        [*example["initial_parameters"]["weights"], *example["initial_parameters"]["biases"]],
        [*example["gradient"]["weights"], *example["gradient"]["biases"]],
        strict=True,
    ):
        expected = np.array([float(Fraction(value)) for value in np.ravel(gradient)]).reshape(after.shape)
        np.testing.assert_allclose((np.array(before) - after) / rate, expected, rtol=0, atol=1e-12 / rate)


def test_example_one_has_the_lectures_loss_after_a_step_and_is_matched_after_a_hundred(service: RunningService) -> None:
    example = EXAMPLES["example-1-one-sample"]
    job = service.trained(**spec_of(service, example, epochs=101))
    items = service.http.get(f"/v1/jobs/{job['id']}/metrics", params={"limit": 500}).json()["items"]
    assert [item["step"] for item in items] == list(range(1, 102))
    assert items[1]["train_loss"] == pytest.approx(example["loss_after_one_step"], rel=0, abs=1e-12)
    assert items[100]["train_loss"] < 1e-6


def test_demo_three_matches_its_batch_of_six_perfectly(service: RunningService) -> None:
    job = service.trained(**spec_of(service, EXAMPLES["demo-3-batch-of-six"], epochs=3000))
    assert job["metrics"]["train_loss"] < 1e-12
    weights, biases = parameters(service, job["id"])
    np.testing.assert_allclose(weights[0].ravel(), [2, -1.5, 1], atol=1e-5)
    np.testing.assert_allclose(biases[0], [1], atol=1e-5)
