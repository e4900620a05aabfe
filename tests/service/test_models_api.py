"""Models over REST: trained in this process, downloaded, and asked for predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load
from ulid import ULID

from service.concurrency import ConcurrencyLimit
from service.models import MAX_CACHED, Models
from service.models import load as load_model
from shared.plan import Plan
from shared.preprocessing import FittedPreprocessing
from support.clusters import LocalCluster
from support.jobs import TENANT
from support.problems import errors_of
from support.service_in_process import CSV, Service, Start
from workers.data import prepare

COLUMNS = CSV.splitlines()[0].decode().split(",")
ROWS: list[dict[str, Any]] = [
    {name: cell if name == "kind" else int(cell) for name, cell in zip(COLUMNS, line.split(","), strict=True)}
    for line in CSV.decode().splitlines()[1:]
]


def without(target: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != target} for row in ROWS]


def predictions(service: Service, job_id: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = service.http.post(f"/v1/jobs/{job_id}/predict", json={"rows": rows})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["predictions"])


def trained(service: Service, **spec: Any) -> dict[str, Any]:
    return service.until(service.submit(**spec)["id"], "succeeded")


def test_a_regression_predicts_in_the_targets_own_units(training_service: Service) -> None:
    job = trained(training_service, dtype="float64", validation={"dataset": "numbers"}, epochs=40, seed=1)
    values = [row["value"] for row in predictions(training_service, job["id"], without("y"))]
    truth = np.array([row["y"] for row in ROWS])
    rmse = float(np.sqrt(np.mean((np.array(values) - truth) ** 2)))
    assert rmse == pytest.approx(job["metrics"]["validation_rmse"], rel=1e-12)


def network_outputs(service: Service, job: dict[str, Any], folder: Path) -> tuple[Any, FittedPreprocessing]:
    """What the trained network says of each training row, prepared as for training, and how it was prepared."""
    plan = Plan.model_validate(service.control.store.any_job(job["id"]).plan)
    catalog = service.control.catalog
    prepared = prepare(plan, catalog.table(TENANT, "numbers"), None, folder)
    model = load_model(service.control.folder.model(job["id"]))
    rows = prepared.open_training(model.network.dtype)
    x, y = rows.memory(len(rows))
    rows.gather(np.arange(len(rows)), x, y)
    workspace = model.network.workspace(len(x), training=False)
    return model.network.forward(model.parameters, x, workspace).copy(), prepared.preprocessing


HIDDEN = [{"type": "dense", "units": 5, "activation": "tanh"}, {"type": "dropout", "rate": 0.5}]


def test_predictions_of_the_training_rows_are_the_networks_own_outputs_in_the_targets_units(
    training_service: Service, tmp_path: Path
) -> None:
    job = trained(training_service, layers=HIDDEN, dtype="float64")
    outputs, preprocessing = network_outputs(training_service, job, tmp_path / "prepared")
    (target,) = preprocessing.targets
    assert target.scale != 1
    values = [row["value"] for row in predictions(training_service, job["id"], without("y"))]
    assert values == (outputs[:, 0] * target.scale + target.mean).tolist()


@pytest.mark.parametrize(("target", "classes"), [("kind", ["even", "odd"]), ("b", [0, 1, 2, 4])])
def test_probabilities_of_the_training_rows_are_those_of_the_networks_own_outputs(
    training_service: Service, tmp_path: Path, target: str, classes: list[Any]
) -> None:
    job = trained(training_service, target=target, task="classification", layers=HIDDEN, dtype="float64")
    outputs, _ = network_outputs(training_service, job, tmp_path / "prepared")
    z = np.hstack([np.zeros_like(outputs), outputs]) if outputs.shape[1] == 1 else outputs
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    found = predictions(training_service, job["id"], without(target))
    assert [list(row["probabilities"]) for row in found] == [[str(value) for value in classes]] * len(ROWS)
    told = np.array([list(row["probabilities"].values()) for row in found])
    np.testing.assert_allclose(told, softmax, rtol=1e-12, atol=0)
    assert [row["value"] for row in found] == [classes[index] for index in softmax.argmax(axis=1)]


def test_a_classification_gives_the_class_and_its_probabilities(training_service: Service) -> None:
    job = trained(training_service, target="kind", validation={"dataset": "numbers"}, epochs=3)
    found = predictions(training_service, job["id"], without("kind"))
    for row in found:
        assert row["probabilities"].keys() == {"even", "odd"}
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["value"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
    accuracy = np.mean([row["value"] == truth["kind"] for row, truth in zip(found, ROWS, strict=True)])
    assert accuracy == pytest.approx(job["metrics"]["validation_accuracy"])


def test_the_history_says_that_a_job_was_stopped_early(training_service: Service) -> None:
    frozen = {"optimizer": {"type": "sgd", "learning_rate": 0}, "validation": {"fraction": 0.5}, "epochs": 9}
    job = trained(training_service, **frozen, early_stopping={"patience": 1})
    last = training_service.http.get(f"/v1/jobs/{job['id']}/history").json()["items"][-1]
    assert last["why"] == (
        "trained; stopped early after epoch 2: validation loss had not improved for 1 epoch; weights of epoch 1 kept"
    )


def test_several_targets_give_an_object_by_target(training_service: Service) -> None:
    job = trained(training_service, target=["y", "b"], features=["a", "kind"])
    (row,) = predictions(training_service, job["id"], [{"a": 3, "kind": "odd"}])
    assert row.keys() == {"value"}
    assert row["value"].keys() == {"y", "b"}


def test_a_model_is_kept_by_who_asked_alone_and_not_sent_again_to_who_has_it(training_service: Service) -> None:
    path = f"/v1/jobs/{trained(training_service)['id']}/model"
    first = training_service.http.get(path)
    etag = first.headers["etag"]
    for asked in (etag, f'"another", W/{etag}', "*"):
        again = training_service.http.get(path, headers={"If-None-Match": asked, "Range": "bytes=0-1"})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == "private, no-cache"
    other = training_service.http.get(path, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert other.headers["cache-control"] == first.headers["cache-control"] == "private, no-cache"
    with training_service.client() as nobody:
        assert nobody.get(path, headers={"If-None-Match": "*"}).status_code == 401


def test_a_model_that_is_gone_from_the_disk_is_not_found(training_service: Service) -> None:
    job_id = trained(training_service)["id"]
    training_service.control.folder.model(job_id).unlink()
    for headers in ({}, {"If-None-Match": "*"}):
        errors_of(training_service.http.get(f"/v1/jobs/{job_id}/model", headers=headers), 404)


def test_the_model_is_one_safetensors_file_that_says_what_it_is(training_service: Service, tmp_path: Any) -> None:
    job = trained(training_service, layers=[{"type": "dense", "units": 3}])
    answer = training_service.http.get(f"/v1/jobs/{job['id']}/model")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert f"{job['id']}.safetensors" in answer.headers["content-disposition"]
    tensors = load(answer.content)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "layers.0.weights": (4, 3),
        "layers.0.bias": (3,),
        "layers.1.weights": (3, 1),
        "layers.1.bias": (1,),
    }
    (tmp_path / "model").write_bytes(answer.content)
    with safe_open(tmp_path / "model", "numpy") as file:
        metadata = file.metadata()
    assert metadata["parameters_sha256"] == job["parameters_sha256"]
    assert metadata.keys() >= {"format", "spec", "preprocessing", "classes", "version"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"rows": []}, ["rows"]),
        ({"rows": [{}] * 10_001}, ["rows"]),
        ({}, ["rows"]),
        ({"rows": [3]}, ["rows[0]"]),
        ({"rows": [{"a": 1, "b": 1}]}, ["rows[0].kind"]),
        ({"rows": [{"a": 1, "b": 1, "kind": "odd", "c": 2}]}, ["rows[0].c"]),
        ({"rows": [{"a": "1", "b": 1, "kind": "odd"}]}, ["rows[0].a"]),
        ({"rows": [{"a": True, "b": 1, "kind": 7}]}, ["rows[0].a", "rows[0].kind"]),
        ({"rows": [{"a": 2.5, "b": 1, "kind": "odd"}]}, ["rows[0].a"]),
        ({"rows": [{"a": 1, "b": 1, "kind": "\ud800"}]}, ["rows[0].kind"]),
        ({"rows": [{"a": 1, "b": 1, "kind": "odd", "\udfff": 1}]}, ["rows[0].\udfff"]),
        ({"rows": [{"a": 1, "b": 1, "kind": "odd"}], "row": []}, ["row"]),
    ],
)
def test_wrong_rows_are_named(training_service: Service, body: Any, fields: list[str]) -> None:
    job = trained(training_service)
    headers = {"Content-Type": "application/json"}  # escaped in ASCII, as a lone surrogate cannot be sent otherwise
    answer = training_service.http.post(f"/v1/jobs/{job['id']}/predict", headers=headers, content=json.dumps(body))
    assert [field for field, _ in errors_of(answer)] == fields


def test_of_a_model_with_many_classes_fewer_rows_are_predicted_at_once(training_service: Service) -> None:
    many = b"a,kind\n" + b"".join(b"%d,kind %d\n" % (number, number) for number in range(400))
    training_service.upload("many classes", many)
    job = trained(training_service, dataset="many classes", target="kind", epochs=1)
    assert len(predictions(training_service, job["id"], [{"a": 1}] * 2_500)) == 2_500  # a million probabilities
    answer = training_service.http.post(f"/v1/jobs/{job['id']}/predict", json={"rows": [{"a": 1}] * 2_501})
    assert errors_of(answer) == [("rows", "2,501 rows")]
    expected = "at most 2,500 rows at once for a model that tells 400 numbers of each"
    assert answer.json()["errors"][0]["expected"] == expected


def test_unseen_categories_and_missing_values_are_no_mistake(training_service: Service) -> None:
    job = trained(training_service)
    rows = [{"a": None, "b": 1, "kind": "neither"}, {"a": 2.0, "b": 1, "kind": None}]
    assert all(isinstance(row["value"], float) for row in predictions(training_service, job["id"], rows))


def test_numbers_that_overflow_the_network_are_refused_by_row(training_service: Service) -> None:
    job = trained(training_service)
    rows = [{"a": 1, "b": 1, "kind": "odd"}] * 1_500 + [{"a": 1e300, "b": 1, "kind": "odd"}]
    answer = training_service.http.post(f"/v1/jobs/{job['id']}/predict", json={"rows": rows})
    assert [field for field, _ in errors_of(answer)] == ["rows[1500]"]


def test_a_job_that_has_not_succeeded_has_no_model(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job()
    for answer in (
        service.http.get(f"/v1/jobs/{job_id}/model"),
        service.http.post(f"/v1/jobs/{job_id}/predict", json={"rows": [{"a": 1}]}),
    ):
        errors_of(answer, 409)
        assert "running" in answer.json()["detail"]


def test_rows_are_read_only_where_there_is_a_model_to_predict_them(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job()
    for asked, status in ((job_id, 409), (f"job_{ULID()}", 404)):
        headers = {"Content-Type": "application/json"}
        answer = service.http.post(f"/v1/jobs/{asked}/predict", headers=headers, content=b"no JSON")
        errors_of(answer, status)


def test_long_rows_of_a_tenant_are_parsed_one_after_the_other(training_service: Service) -> None:
    job = trained(training_service)
    usual, training_service.control.long_bodies = training_service.control.long_bodies, ConcurrencyLimit(0, 0)
    try:
        for spaces, status in ((1 << 20, 429), (100_000, 200)):
            rows = json.dumps({"rows": without("y")}) + " " * spaces
            headers = {"Content-Type": "application/json"}
            answer = training_service.http.post(f"/v1/jobs/{job['id']}/predict", headers=headers, content=rows)
            assert answer.status_code == status
    finally:
        training_service.control.long_bodies = usual


def test_models_asked_last_are_kept_in_memory(training_service: Service) -> None:
    job = trained(training_service)
    path = training_service.control.folder.model(job["id"])
    models = Models()
    first = models.get("job_0", path)
    assert models.get("job_0", path) is first
    for number in range(1, MAX_CACHED + 1):
        models.get(f"job_{number}", path)
    assert models.get("job_0", path) is not first
    kept = models.get("job_0", path)
    models.forget("job_0")
    assert models.get("job_0", path) is not kept


def test_another_number_of_workers_does_not_change_the_bits(training_service: Service) -> None:
    spec: dict[str, Any] = {"layers": [{"type": "dense", "units": 5}], "epochs": 5, "batch_size": 8}
    digests = {trained(training_service, **spec, workers=workers)["parameters_sha256"] for workers in (1, 2)}
    assert len(digests) == 1


def test_what_only_training_needed_of_a_job_is_removed_when_it_has_ended(start: Start) -> None:
    service = start(LocalCluster())
    service.upload()
    job = trained(service)
    service.stop()
    folder = service.control.folder.job(job["id"])
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
