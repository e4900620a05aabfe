"""The trained weights are a pure function of spec and data: workers, pauses and deaths change nothing."""

from typing import Any

import numpy as np
import pytest

from support.running_service import DATA, RunningService

pytestmark = pytest.mark.ray

WINE: dict[str, Any] = {
    "dataset": "wine",
    "target": "quality",
    "layers": [
        {"type": "dense", "units": 32, "activation": "gelu"},
        {"type": "dropout", "rate": 0.1},
        {"type": "dense", "units": 16, "activation": "tanh"},
    ],
    "batch_size": 100,
    "epochs": 40,
    "validation": {"fraction": 0.1},
    "seed": 3,
}


@pytest.fixture(scope="module")
def alone(service: RunningService) -> str:
    """The digest with one worker."""
    service.upload("wine", DATA / "wine-quality-white.csv")
    return str(service.trained(**WINE, workers=1)["parameters_sha256"])


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_the_number_of_workers_does_not_change_the_bits(service: RunningService, alone: str, workers: int) -> None:
    job = service.trained(**WINE, workers={"min": workers, "max": workers})
    history = service.http.get(f"/v1/jobs/{job['id']}/history").json()["items"]
    assert f"started on {workers} CPUs" in [move["why"] for move in history]
    assert 1 < job["workers"] <= workers, "those that start late may find nothing left to do"
    assert job["parameters_sha256"] == alone


def test_another_seed_gives_other_bits(service: RunningService, alone: str) -> None:
    assert service.trained(**{**WINE, "seed": 4}, workers=2)["parameters_sha256"] != alone


def test_a_job_paused_and_resumed_twice_ends_with_the_same_bits(service: RunningService) -> None:
    service.upload("wine", DATA / "wine-quality-white.csv")
    long = {**WINE, "epochs": 100, "workers": 2}  # half a second, so that it can be paused on the way
    undisturbed = service.trained(**long)["parameters_sha256"]
    job_id = service.submit(**long)["id"]
    pauses = 0
    for kind, data in service.events(job_id):
        if kind == "metrics" and pauses < 2:
            service.act(job_id, "pause")
        elif kind == "state" and data["to"] == "paused":
            pauses += 1
            service.act(job_id, "resume")
    job = service.job(job_id)
    assert (job["state"], pauses) == ("succeeded", 2)
    assert job["parameters_sha256"] == undisturbed


def test_predictions_of_the_training_rows_are_the_networks_own_outputs(service: RunningService) -> None:
    """The validation set is the training set here, so the network's own metrics over it can be had by predicting."""
    service.upload("wine", DATA / "wine-quality-white.csv")
    job = service.trained(**{**WINE, "validation": {"dataset": "wine"}, "dtype": "float64", "epochs": 1}, workers=1)
    rows = service.http.get("/v1/datasets/wine/preview", params={"rows": 100_000}).json()["rows"]
    truth = np.array([row.pop("quality") for row in rows], float)
    predicted = np.array(
        [value for n in range(0, len(rows), 1000) for value in service.predict(job["id"], rows[n : n + 1000])]
    )
    assert np.sqrt(np.mean((predicted - truth) ** 2)) == pytest.approx(job["metrics"]["validation_rmse"], rel=1e-12)
    assert np.mean(np.abs(predicted - truth)) == pytest.approx(job["metrics"]["validation_mae"], rel=1e-12)
