"""How good a model is, and its checkpoints, through the service; training is real."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics

from service.evaluation import Evaluations, evaluation_of
from shared.errors import DataMissing
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


def test_each_of_several_classes_is_judged_against_the_rest_as_scikit_learn_does(training_service: Service) -> None:
    rows = [(a, a * a % 7, ["low", "mid", "high"][a * a % 7 % 3]) for a in range(1, 61)]
    training_service.upload("three", b"a,b,kind\n" + b"".join(f"{a},{b},{kind}\n".encode() for a, b, kind in rows))
    job = trained(training_service, dataset="three", target="kind", validation={"dataset": "three"})
    found = evaluation(training_service, job)
    sent = {"rows": [{"a": a, "b": b} for a, b, _ in rows]}
    answers = training_service.http.post(f"/v1/jobs/{job['id']}/predict", json=sent).json()["predictions"]
    truth = np.array([kind for *_, kind in rows])
    assert ("roc" in found, [each["name"] for each in found["by_class"]]) == (False, found["classes"])
    for each in found["by_class"]:
        labels, scores = truth == each["name"], [answer["probabilities"][each["name"]] for answer in answers]
        x, y, threshold = metrics.roc_curve(labels, scores, drop_intermediate=False)
        told = each["roc"]
        assert (each["rows"], each["of_rows"]) == (labels.sum(), 60)
        np.testing.assert_allclose(told["x"], x)
        np.testing.assert_allclose(told["y"], y)
        np.testing.assert_allclose(expit(np.array(told["threshold"][1:])), threshold[1:], rtol=1e-5)
        assert told["area"] == pytest.approx(metrics.roc_auc_score(labels, scores))
        precision, recall, _ = metrics.precision_recall_curve(labels, scores)
        np.testing.assert_allclose(each["precision_recall"]["x"], recall[::-1])
        np.testing.assert_allclose(each["precision_recall"]["y"], precision[::-1])
        assert each["precision_recall"]["area"] == pytest.approx(metrics.average_precision_score(labels, scores))


def test_curves_of_many_classes_are_short_and_those_of_too_many_are_left_out(training_service: Service) -> None:
    for classes, expected in ((50, 50), (51, None)):
        lines = "".join(f"{a},c{a % classes}\n" for a in range(40 * classes))
        training_service.upload(f"of {classes}", b"a,kind\n" + lines.encode())
        job = trained(training_service, dataset=f"of {classes}", target="kind", epochs=1)
        told = evaluation(training_service, job)
        by_class = told.get("by_class")
        assert (None if by_class is None else len(by_class), "confusion" in told) == (expected, expected is not None)
        points = [len(each[curve]["x"]) for each in by_class or () for curve in ("roc", "precision_recall")]
        assert max(points, default=0) <= 2_000 / 50


def test_a_class_without_a_validation_row_has_no_curves(training_service: Service) -> None:
    training_service.upload("three", b"a,kind\n" + b"".join(f"{a},{'xyz'[a % 3]}\n".encode() for a in range(30)))
    training_service.upload("two of them", b"a,kind\n" + b"".join(f"{a},{'xy'[a % 2]}\n".encode() for a in range(10)))
    job = trained(training_service, dataset="three", target="kind", validation={"dataset": "two of them"})
    assert [each["name"] for each in evaluation(training_service, job)["by_class"]] == ["x", "y"]


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
    found = evaluation_of(model, spec, control.catalog.table("default", "numbers"), most_rows=8)
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


def test_what_is_known_waits_for_nothing_and_who_ask_at_once_share_what_is_computed() -> None:
    begun, goes_on, computed = threading.Event(), threading.Event(), []

    def compute(model: Any, spec: Any, file: Any) -> Any:
        computed.append(model)
        if model == "slow":
            begun.set()
            assert goes_on.wait(20)
        if model == "gone":
            raise DataMissing("gone")
        return f"of {model}"

    evaluations = Evaluations(compute)

    def ask(name: Any) -> Any:
        return evaluations.get(name, name, None, None)  # type: ignore[arg-type]

    assert ask("known") == "of known"
    with ThreadPoolExecutor(2) as threads:
        slow = [threads.submit(ask, "slow") for _ in range(2)]
        assert begun.wait(20)
        assert ask("known") == "of known"
        goes_on.set()
        assert [each.result() for each in slow] == ["of slow"] * 2
    for _ in range(2):
        with pytest.raises(DataMissing):
            ask("gone")
    assert computed == ["known", "slow", "gone", "gone"], "only what was found is kept"
