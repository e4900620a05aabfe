"""The client has a method for each thing that the service can do, as its OpenAPI document tells."""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from chainrule import Client
from chainrule.evaluation import ClassEvaluation, Evaluation, Residuals, TargetEvaluation, ThresholdCurve
from chainrule.records import (
    Checkpoint,
    Cluster,
    Column,
    Dataset,
    Histogram,
    JobRecord,
    Key,
    LogLine,
    Move,
    Node,
    Plan,
    Prediction,
    Progress,
    QueuePlace,
    SigninLink,
    Version,
    WhoAmI,
)
from chainrule.tenants import OwnQuota, Tenant
from chainrule.webhook_records import Delivery, Webhook
from chainrule.webhooks import Webhooks
from support.fake_service import FakeService

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8"))

METHODS: dict[str, Callable[..., Any]] = {
    "GET /v1/datasets": Client.datasets,
    "POST /v1/datasets": Client.add_dataset,
    "GET /v1/datasets/{dataset}": Client.dataset,
    "DELETE /v1/datasets/{dataset}": Client.delete_dataset,
    "GET /v1/datasets/{dataset}/preview": Client.preview,
    "GET /v1/datasets/{dataset}/histograms": Client.histograms,
    "GET /v1/jobs": Client.jobs,
    "POST /v1/jobs": Client.submit,
    "GET /v1/jobs/{job_id}": Client.job,
    "DELETE /v1/jobs/{job_id}": Client.delete_job,
    "POST /v1/jobs/{job_id}/cancel": Client.cancel,
    "POST /v1/jobs/{job_id}/pause": Client.pause,
    "POST /v1/jobs/{job_id}/resume": Client.resume,
    "GET /v1/jobs/{job_id}/metrics": Client.metrics,
    "GET /v1/jobs/{job_id}/history": Client.history,
    "GET /v1/jobs/{job_id}/events": Client.events,
    "GET /v1/jobs/{job_id}/logs": Client.logs,
    "GET /v1/jobs/{job_id}/logs/stream": Client.follow_logs,
    "GET /v1/jobs/{job_id}/model": Client.model,
    "POST /v1/jobs/{job_id}/predict": Client.predict,
    "GET /v1/jobs/{job_id}/evaluation": Client.evaluation,
    "GET /v1/jobs/{job_id}/checkpoints": Client.checkpoints,
    "GET /v1/webhooks": Webhooks.list,
    "POST /v1/webhooks": Webhooks.create,
    "GET /v1/webhooks/{webhook_id}": Webhooks.get,
    "PATCH /v1/webhooks/{webhook_id}": Webhooks.update,
    "DELETE /v1/webhooks/{webhook_id}": Webhooks.delete,
    "POST /v1/webhooks/{webhook_id}/ping": Webhooks.ping,
    "POST /v1/webhooks/{webhook_id}/rotate_secret": Webhooks.rotate_secret,
    "GET /v1/webhooks/{webhook_id}/deliveries": Webhooks.deliveries,
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": Webhooks.redeliver,
    "GET /v1/keys": Client.keys,
    "POST /v1/keys": Client.add_key,
    "DELETE /v1/keys/{key_id}": Client.revoke_key,
    "GET /v1/session": Client.whoami,
    "POST /v1/signin-links": Client.signin_link,
    "GET /v1/quota": Client.quota,
    "GET /v1/tenants": Client.tenants,
    "GET /v1/tenants/{tenant}": Client.tenant,
    "PUT /v1/tenants/{tenant}/quota": Client.set_quota,
    "GET /readyz": Client.ready,
    "GET /v1/cluster": Client.cluster,
    "GET /v1/version": Client.version,
}
OF_OTHERS = {"POST /v1/session", "DELETE /v1/session", "GET /healthz", "GET /metrics"}
"""For a browser's cookie, for who starts the service, and for Prometheus."""
OTHERWISE = {("Client.submit", "dry_run"), ("Client.events", "after")}
"""What has a method of its own, `plan`, or another name, `last_event_id`."""
PAGING = {"limit", "cursor"}
"""Of no use where a method gives the whole list."""


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_has_a_method() -> None:
    assert {name for name, _ in operations()} == METHODS.keys() | OF_OTHERS


@pytest.mark.parametrize("route", METHODS)
def test_what_a_route_takes_in_its_query_is_an_argument(route: str) -> None:
    method = METHODS[route]
    taken = inspect.signature(method).parameters.keys()
    asked = {one["name"] for one in dict(operations())[route].get("parameters", []) if one["in"] == "query"}
    assert {name for name in asked - taken - PAGING if (method.__qualname__, name) not in OTHERWISE} == set()


RECORDS: dict[str, type[Any]] = {
    **{record.__name__: record for record in (Column, Dataset, Histogram, LogLine, Prediction, Progress, QueuePlace)},
    **{
        record.__name__: record for record in (ClassEvaluation, Evaluation, Residuals, TargetEvaluation, ThresholdCurve)
    },
    **{record.__name__: record for record in (Key, SigninLink, OwnQuota, Tenant, Delivery, Webhook)},
    "Evaluation": Evaluation,
    "Job": JobRecord,
    "DryRun": Plan,
    "HistoryItem": Move,
    "KeptCheckpoint": Checkpoint,
    "ClusterInfo": Cluster,
    "ClusterNode": Node,
    "VersionInfo": Version,
    "Session": WhoAmI,
}
RENAMED = {"latest_metrics": "metrics", "from_": "from"}


@pytest.mark.parametrize("schema", RECORDS)
def test_a_record_has_a_field_for_everything_that_is_told(schema: str) -> None:
    there = {RENAMED.get(each.name, each.name) for each in fields(RECORDS[schema])} - {"json"}
    assert there == DOCUMENT["components"]["schemas"][schema]["properties"].keys()


# ---------------------------------------------------------------- with the answers that the document shows
def shown(route: str) -> dict[str, Any]:
    """The document's example of an answer."""
    (example,) = dict(operations())[route]["responses"]["200"]["content"]["application/json"]["examples"].values()
    return dict(example["value"])


def test_a_model_is_judged(service: FakeService, client: Client) -> None:
    service.add_job({}, "succeeded")
    job = client.job("job_01")
    service.answers = [httpx.Response(200, json=shown("GET /v1/jobs/{job_id}/evaluation"))]
    evaluation = job.evaluation()
    assert service.requests[-1].url.path == "/v1/jobs/job_01/evaluation"
    assert evaluation.confusion == [[2301, 171], [322, 462]]
    assert (evaluation.roc.area, evaluation.precision_recall.threshold) == (0.86, [None, 0.0, -6.2])
    assert evaluation.targets is None


def test_several_classes_are_judged_each_against_the_rest() -> None:
    curve = {"x": [0.0, 1.0], "y": [0.0, 1.0], "threshold": [None, 0.5]}
    told = {
        "name": "7",
        "rows": 3,
        "of_rows": 9,
        "roc": curve | {"area": 0.75},
        "precision_recall": curve | {"area": 0.5},
    }
    evaluation = Evaluation.of({"task": "classification", "rows": 9, "of_rows": 9, "by_class": [told]})
    assert evaluation.by_class is not None
    (seven,) = evaluation.by_class
    assert (seven.name, seven.roc.area, seven.precision_recall.area) == ("7", 0.75, 0.5)
    assert (evaluation.roc, evaluation.targets) == (None, None)


def test_a_regression_is_judged_by_target() -> None:
    residuals = {"edges": [-1.0, 0.0, 1.0], "counts": [2, 1]}
    target = {"name": "quality", "actual": [6.0], "predicted": [5.8], "residuals": residuals}
    evaluation = Evaluation.of({"task": "regression", "rows": 3, "of_rows": 3, "targets": [target]})
    assert evaluation.targets is not None
    assert [(one.name, one.residuals.counts) for one in evaluation.targets] == [("quality", [2, 1])]
    assert (evaluation.roc, evaluation.confusion) == (None, None)


def test_checkpoints_and_histograms_are_listed(service: FakeService, client: Client) -> None:
    service.add_job({}, "running")
    job = client.job("job_01")
    service.answers = [
        httpx.Response(200, json=shown("GET /v1/jobs/{job_id}/checkpoints")),
        httpx.Response(200, json=shown("GET /v1/datasets/{dataset}/histograms")),
    ]
    assert [one.step for one in job.checkpoints()] == [805]
    assert [(one.column, sum(one.counts), one.values) for one in client.histograms("adult")] == [
        ("age", 32561, None),
        ("income", 32561, ["<=50K", ">50K"]),
    ]


def test_jobs_are_found_by_name_and_bits_and_metrics_are_thinned(service: FakeService, client: Client) -> None:
    service.add_job({}, "succeeded")
    client.jobs(name="wine", parameters_sha256="a" * 64, owner="the nightly jobs")
    asked = {"name": "wine", "parameters_sha256": "a" * 64, "owner": "the nightly jobs"}
    assert dict(service.requests[-1].url.params) == asked
    client.job("job_01").metrics(after=3, points=100)
    assert dict(service.requests[-1].url.params) == {"after": "3", "points": "100"}
