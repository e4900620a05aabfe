"""How good a model is, and its checkpoints, through the service; training is real."""

from typing import Any

import numpy as np
import pytest

from service.evaluation import evaluation_of
from shared.plan import Plan
from support.service_in_process import CSV, Service

HALF: dict[str, Any] = {"validation": {"fraction": 0.5}, "layers": [{"type": "dense", "units": 4}], "epochs": 6}


def trained(service: Service, **spec: Any) -> dict[str, Any]:
    return service.until(service.submit(**{**HALF, **spec})["id"], "succeeded")


def evaluation(service: Service, job: dict[str, Any]) -> dict[str, Any]:
    answer = service.http.get(f"/v1/jobs/{job['id']}/evaluation")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_classification_is_judged_on_the_very_rows_that_it_was_validated_on(training_service: Service) -> None:
    job = trained(training_service, target="kind")
    found = evaluation(training_service, job)
    assert (found["rows"], found["of_rows"], found["classes"]) == (20, 20, ["even", "odd"])
    matrix = np.array(found["confusion"])
    assert np.trace(matrix) / 20 == pytest.approx(job["metrics"]["validation_accuracy"])
    assert found["roc"]["area"] == pytest.approx(job["metrics"]["validation_auc"])
    assert found["precision_recall"]["x"][-1] == 1
    assert "targets" not in found


def test_a_regression_is_judged_in_the_targets_own_units(training_service: Service) -> None:
    job = trained(training_service, target=["y", "b"], features=["a"])
    targets = evaluation(training_service, job)["targets"]
    assert [target["name"] for target in targets] == ["y", "b"]
    errors = np.array([np.subtract(target["predicted"], target["actual"]) for target in targets])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(job["metrics"]["validation_rmse"], rel=1e-5)
    assert all(sum(target["residuals"]["counts"]) == 20 for target in targets)
    assert {round(value, 6) for value in targets[0]["actual"]} <= {3 * a + 1 for a in range(1, 41)}


def test_a_data_set_of_its_own_is_judged_on_whole(training_service: Service) -> None:
    training_service.upload("others", CSV.replace(b"\n1,", b"\n2,"))
    job = trained(training_service, target="kind", validation={"dataset": "others"})
    assert evaluation(training_service, job)["of_rows"] == 40


def test_where_rows_are_too_many_evenly_chosen_ones_stand_for_all(training_service: Service) -> None:
    job = trained(training_service, validation={"dataset": "numbers"})
    control = training_service.control
    model = control.models.get(job["id"], control.folder.model(job["id"]))
    spec = Plan.model_validate(control.store.get("default", job["id"]).plan).spec
    found = evaluation_of(model, spec, control.catalog.table(control.catalog.find("default", "numbers")), most_rows=8)
    assert (found.rows, found.of_rows) == (8, 40)
    assert found.targets is not None
    assert found.targets[0].actual == pytest.approx([3 * a + 1 for a in range(1, 41, 5)])


def test_a_model_without_validation_or_without_its_data_cannot_be_judged(training_service: Service) -> None:
    without = trained(training_service, validation=None)
    answer = training_service.http.get(f"/v1/jobs/{without['id']}/evaluation")
    assert (answer.status_code, "has no validation" in answer.json()["detail"]) == (409, True)
    dataset = training_service.upload("soon gone")
    job = trained(training_service, dataset="soon gone")
    assert training_service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    gone = training_service.http.get(f"/v1/jobs/{job['id']}/evaluation")
    assert (gone.status_code, "was deleted" in gone.json()["detail"]) == (404, True)


def test_a_job_that_runs_is_not_judged_yet(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job()
    assert service.http.get(f"/v1/jobs/{job_id}/evaluation").status_code == 409


def test_checkpoints_are_listed_newest_first(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job()
    assert service.http.get(f"/v1/jobs/{job_id}/checkpoints").json() == {"items": [], "next_cursor": None}
    folder = service.control.folder.job(job_id) / "checkpoints"
    folder.mkdir()
    for step, digit in ((7, "a"), (12, "b")):
        (folder / f"step-{step:012d}-{digit * 64}.safetensors").touch()
    (folder / ".half.partial").touch()
    found = service.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["items"]
    assert found == [{"step": 12, "sha256": "b" * 64}, {"step": 7, "sha256": "a" * 64}]
