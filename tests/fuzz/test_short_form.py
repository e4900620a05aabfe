"""The short form of `make fuzz`: one round of some 2,000 requests to a service in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.round import PHASES, fuzzed
from fuzz.table import WEBHOOK_HOST, Seeded
from service.settings import Settings
from support.clusters import BriefCluster
from support.service_in_process import WITHIN_S, Service

SEED = 1


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(Settings(data_dir=tmp_path / "data", webhook_hosts=(WEBHOOK_HOST,)), BriefCluster(cpus=2))
    assert service.control.ready.wait(WITHIN_S), service.control.problems()
    yield service
    service.cluster.let_go()
    service.stop()


@pytest.mark.timeout(900)  # 20 s, unless other programs have the cores
def test_whatever_is_sent_the_answer_is_what_the_document_says(service: Service, tmp_path: Path) -> None:
    own = service.http.get("/v1/session").json()["key"]["id"]
    found = fuzzed(service.url, service.key, Seeded.at(service.http, own), SEED, 1, tmp_path)
    assert found.failed == 0, found.said
    assert found.cases > 1000
    assert found.phases == PHASES
    accepted = {operation for operation, answers in found.accepted.items() if answers}
    assert {"POST /v1/datasets", "POST /v1/jobs", "POST /v1/jobs/{job_id}/predict", "POST /v1/keys"} <= accepted


@pytest.mark.timeout(900)
def test_whatever_is_sent_with_a_key_that_reads_nothing_changes(service: Service, tmp_path: Path) -> None:
    own = service.http.get("/v1/session").json()["key"]["id"]
    reader = service.http.post("/v1/keys", json={"name": "reads", "scopes": ["read"]}).json()
    seeded = Seeded.at(service.http, own, reader["id"])
    before = everything(service)
    found = fuzzed(service.url, reader["key"], seeded, SEED, 2, tmp_path, phases=("examples", "fuzzing"))
    assert found.failed == 0, found.said
    assert found.cases > 150
    assert found.accepted["GET /v1/jobs"] > 0
    assert everything(service) == before


def everything(service: Service) -> list[list[str]]:
    """The ids of all that the tenant has."""
    lists = ("datasets", "jobs", "keys", "webhooks")
    return [[item["id"] for item in service.http.get(f"/v1/{name}").json()["items"]] for name in lists]
