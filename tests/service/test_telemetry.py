"""`/metrics`: what Prometheus reads is what happened, and names nobody."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from service.census import Census
from service.credentials import NewKeyRow
from service.database import Database
from service.keys import Scope
from service.settings import Settings
from service.store import Store
from service.telemetry import Snapshot, Telemetry
from support.clusters import LocalCluster
from support.jobs import new_job, with_a_dataset
from support.service_in_process import WITHIN_S, Service
from workers.job import InternalError, OutOfMemory

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\b(?:chainrule|process)_\w+")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
PRIVATE = "a-tenant-of-its-own"


class Read:
    """The samples of one answer."""

    def __init__(self, text: str) -> None:
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parsed(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"chainrule_{name}", frozenset(labels.items())]


def scrape(service: Service) -> Read:
    return Read(service.http.get("/metrics").text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has trained a job: 2 epochs of 4 batches, on 40 rows each."""
    service = Service(Settings(data_dir=tmp_path_factory.mktemp("data")), LocalCluster(cpus=2))
    assert service.control.ready.wait(WITHIN_S)
    service.upload()
    service.until(service.submit(name="a secret name")["id"], "succeeded")
    yield service
    service.stop()


def test_steps_rows_jobs_and_waits_are_counted(trained: Service) -> None:
    read = scrape(trained)
    assert read("step_duration_seconds_count") == 8
    assert 0 < read("step_duration_seconds_sum") < WITHIN_S
    assert read("samples_total") == 80
    assert (read("jobs", state="succeeded"), read("jobs", state="queued")) == (1, 0)
    assert (read("jobs_submitted_total"), read("jobs_ended_total", state="succeeded")) == (1, 1)
    assert (read("queue_wait_seconds_count"), read("attempts_total", end="succeeded")) == (1, 1)
    assert (read("cpus"), read("cpus_free"), read("ready")) == (2, 2, 1)
    assert read.samples["process_resident_memory_bytes", frozenset()] > 10_000_000


def test_requests_are_counted_by_the_template_of_their_route(trained: Service) -> None:
    job_id = trained.http.get("/v1/jobs").json()["items"][0]["id"]
    before = scrape(trained)
    trained.http.get(f"/v1/jobs/{job_id}")
    trained.http.get("/v1/jobs/job_00000000000000000000000000")
    for path in ("/nowhere", "/v1/else", "/docs/files/swagger-ui.css"):
        trained.http.get(path)
    trained.http.request("FROBNICATE", "/v1/jobs")
    read = scrape(trained)
    job = {"method": "GET", "route": "/v1/jobs/{job_id}"}
    counted = (
        read("http_requests_total", **job, status="200"),
        before.samples.get(("chainrule_http_requests_total", frozenset({**job, "status": "200"}.items())), 0.0),
    )
    assert counted[0] - counted[1] == 1
    assert read("http_requests_total", **job, status="404") == 1
    assert read("http_request_duration_seconds_count", **job) == counted[0] + 1
    assert read("http_requests_total", method="GET", route="none", status="404") == 2
    assert read("http_requests_total", method="GET", route="/docs/files/{file}", status="200") == 1
    assert read("http_requests_total", method="other", route="/v1/jobs", status="405") == 1


def test_whoever_may_read_sees_it_and_it_names_nobody(trained: Service) -> None:
    key = trained.control.credentials.add_key(NewKeyRow("p", Scope.READ, tenant=PRIVATE))[1]
    with trained.client() as nobody:
        assert nobody.get("/metrics").status_code == 401
        answer = nobody.get("/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    job_id = trained.http.get("/v1/jobs").json()["items"][0]["id"]
    for told in ("default", PRIVATE, "a secret name", "numbers", job_id):
        assert told not in answer.text
    assert set(Read(answer.text).samples) >= {("chainrule_jobs", frozenset({("state", "running")}))}


def test_openmetrics_is_spoken_where_it_is_asked_for(trained: Service) -> None:
    answer = trained.http.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in openmetrics(answer.text)}
    assert {"chainrule_jobs", "chainrule_http_requests", "chainrule_step_duration_seconds"} <= names


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/openmetrics-text; version=abc", "text/plain; version=0.0.4"),
        ("text/plain; version=x", "text/plain; version=0.0.4"),
        ('application/openmetrics-text; version="1.0.0"', "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_a_version_may_be_quoted_and_one_that_is_none_gets_the_old_format(
    trained: Service, accept: str, media_type: str
) -> None:
    answer = trained.http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(media_type)
    assert "chainrule_jobs" in answer.text


def test_the_dashboard_and_the_alerts_ask_for_what_is_told(trained: Service) -> None:
    samples = scrape(trained).samples
    labels = {name: {label for each, pairs in samples if each == name for label, _ in pairs} for name, _ in samples}
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "chainrule.json").read_text(encoding="utf-8"))
    (alerts,) = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [rule["expr"] for rule in alerts["rules"]]
    names = {name for text in asked for name in NAME.findall(text)}
    assert len(names) > 15
    assert names <= set(labels)
    for text in asked:
        known = {"le", "instance", "job"}.union(*(labels[name] for name in NAME.findall(text)))
        used = {label.strip() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")}
        assert used | set(re.findall(r"(\w+)=~?\"", text)) <= known, text


def test_every_metric_is_in_the_documents(trained: Service) -> None:
    documented = set(re.findall(r"chainrule_\w+", (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")))
    families = {family.name for family in openmetrics(trained.control.telemetry.text(OPENMETRICS)[0].decode())}
    told = {name for name in families if name.startswith("chainrule_")}
    documented = {re.sub(r"_(total|info)$", "", name) for name in documented}
    assert documented == told


def test_losses_are_counted_by_how_they_were_recovered_from(service: Service) -> None:
    job_id = service.submit(workers=2)["id"]
    service.cluster.next_job().lose("a node died")
    service.cluster.next_job().lose(OutOfMemory("out of memory"))
    attempt = service.cluster.next_job().tell("started", environment={}, workers=2, members=[0, 1])
    attempt.tell("workers", workers=1, cpus=2, step=3, why="1 was lost", gone=[1], members=[0], lost=True)
    attempt.tell("workers", workers=2, cpus=2, step=9, why="1 joined", gone=[], members=[0, 1], lost=False)
    attempt.tell("workers", workers=1, cpus=1, step=12, why="1 left", gone=[1], members=[0], lost=False)
    attempt.end("succeeded", parameters_sha256="a" * 64)
    service.until(job_id, "succeeded")
    read = scrape(service)
    assert (read("attempts_total", end="lost"), read("attempts_total", end="out_of_memory")) == (1, 1)
    assert (read("recoveries_total", kind="attempt"), read("recoveries_total", kind="step")) == (2, 1)
    assert (read("worker_changes_total", change="lost"), read("worker_changes_total", change="joined")) == (1, 1)
    assert read("queue_wait_seconds_count") == 1, "a job waits for its first start once"


def test_a_job_that_is_given_up_was_not_recovered(service: Service) -> None:
    job_id = service.submit()["id"]
    for _ in range(2):
        service.cluster.next_job().lose(InternalError("a mistake"))
    service.until(job_id, "failed")
    read = scrape(service)
    assert (read("attempts_total", end="internal_error"), read("recoveries_total", kind="attempt")) == (2, 1)


def test_what_cannot_be_known_now_is_left_out() -> None:
    telemetry = Telemetry()
    telemetry.show(lambda: Snapshot(None, None, None, None, None, 0.0, 0, ready=False))
    telemetry.answered("GET", "/v1/jobs", 503, 0.1)
    read = Read(telemetry.text("")[0].decode())
    assert (read("ready"), read("http_requests_total", method="GET", route="/v1/jobs", status="503")) == (0, 1)
    assert not {"chainrule_jobs", "chainrule_cpus"} & {name for name, _ in read.samples}


def test_jobs_are_counted_at_most_once_a_second(database: Database, tmp_path: Path) -> None:
    with_a_dataset(database, tmp_path)
    now = 0.0
    store, census = Store(database), Census(database, lambda: now)
    assert census.take() == ({}, None)
    first, _ = store.add(new_job())
    store.add(new_job())
    assert census.take().jobs == {}, "as it was a moment ago"
    now = 1.0
    assert census.take() == ({"queued": 2}, first.created_at)
