"""The database is locked, stopped, or takes no writes: jobs train on, nothing is acknowledged, nothing is lost."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from examples.postgresql import PostgreSQL
from support.clusters import ScriptedCluster
from support.service_in_process import SPEC, WITHIN_S, Service, Start

DONE = {"fraction": 1.0, "step": 8, "steps": 8, "epoch": 2, "epochs": 2, "eta_s": 0.0}


class Locked:
    """An SQLite file that another program locks."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}?timeout=0.1"
        self._path = path

    def begin(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=WITHIN_S)
        self._connection.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


class Stopped:
    """A PostgreSQL that somebody stops and starts again."""

    def __init__(self, server: PostgreSQL) -> None:
        self.url = server.new_database()
        self.begin, self.end = server.stop, server.start


class ReadOnly:
    """A PostgreSQL of which, while it fails over, connections reach a server that takes no writes."""

    def __init__(self, server: PostgreSQL) -> None:
        self.url = server.new_database()
        self._name = sa.make_url(self.url).database
        url = sa.make_url(server.url).set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def begin(self) -> None:
        self._set("on")
        with self._engine.connect() as connection:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(sa.text(cut), {"name": self._name})

    def end(self) -> None:
        """Who is connected to that server stays so."""
        self._set("off")

    def _set(self, value: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(sa.text(f"ALTER DATABASE {self._name} SET default_transaction_read_only = {value}"))


@pytest.fixture(params=["locked", "stopped"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Locked | Stopped:
    if request.param == "locked":
        return Locked(tmp_path / "test.sqlite3")
    return Stopped(request.getfixturevalue("own_postgresql"))


@pytest.fixture
def service(start: Start, outage: Locked | Stopped) -> Iterator[Service]:
    service = start(ScriptedCluster(), outage.url)
    service.upload()
    yield service


def until(answer: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """Asks again until the answer has that status."""
    deadline = time.monotonic() + WITHIN_S
    while (last := answer()).status_code != status:
        assert time.monotonic() < deadline, last.text
        time.sleep(0.02)
    return last


def until_taken_in(service: Service, job_id: str) -> None:
    """Waits until what the job's attempt told is taken in: from then on it is listened to."""
    deadline = time.monotonic() + WITHIN_S
    while not service.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_trains_on_while_the_database_is_away_and_all_that_it_told_is_written_then(
    service: Service, outage: Locked | Stopped
) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job().tell_metrics(1)
    until_taken_in(service, job_id)
    outage.begin()
    try:
        for step in range(2, 50):
            attempt.tell_metrics(step)
        attempt.end("succeeded", parameters_sha256="d" * 64, metrics={"train_loss": 0.5}, progress=DONE)
        refused = until(lambda: service.http.get(f"/v1/jobs/{job_id}"), 503)
        assert refused.headers["retry-after"]
        assert not attempt.closed.is_set()
    finally:
        outage.end()
    until(lambda: service.http.get("/readyz"), 200)
    job = service.until(job_id, "succeeded")
    assert (job["attempt"], job["parameters_sha256"]) == (1, "d" * 64)
    assert service.history(job_id) == ["queued", "running", "succeeded"]
    items = service.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"]
    assert [item["step"] for item in items] == list(range(1, 50))


def test_nothing_is_acknowledged_while_the_database_is_away_and_the_service_says_so(
    service: Service, outage: Locked | Stopped
) -> None:
    running = service.submit()["id"]
    service.cluster.next_job()

    def submit() -> httpx.Response:
        return service.http.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "once"})

    outage.begin()
    try:
        refusals = [
            submit(),
            service.http.post(f"/v1/jobs/{running}/cancel"),
            service.http.delete(f"/v1/jobs/{running}"),
        ]
        for refused in refusals:
            assert refused.status_code == 503
            assert refused.headers["retry-after"].isdecimal()
            assert refused.json()["detail"] == "the database does not answer; try again in a moment"
        away = until(lambda: service.http.get("/readyz"), 503)
        assert away.json()["detail"] == "the database does not answer", "nothing of what the driver says"
    finally:
        outage.end()
    until(lambda: service.http.get("/readyz"), 200)
    assert [job["id"] for job in service.http.get("/v1/jobs").json()["items"]] == [running]
    assert service.history(running) == ["queued", "running"]
    job_id = until(submit, 202).json()["id"]
    assert submit().json()["id"] == job_id


def test_a_job_that_starts_or_ends_without_a_database_does_so_when_it_is_back(
    service: Service, outage: Locked | Stopped
) -> None:
    running, waiting = (service.submit(workers={"min": 2, "max": 2})["id"] for _ in range(2))
    attempt = service.cluster.next_job().tell_metrics(1)
    until_taken_in(service, running)
    outage.begin()
    try:
        attempt.lose("a worker died")
        assert attempt.closed.wait(WITHIN_S)
        until(lambda: service.http.get("/readyz"), 503)
        assert service.cluster.nothing_launched()
    finally:
        outage.end()
    again = service.cluster.next_job()
    assert (again.job.id, again.job.attempt) == (running, 2), "it is the older one"
    assert service.job(waiting)["attempt"] == 1


def test_a_stream_outlives_a_database_that_is_away(service: Service, outage: Locked | Stopped) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    heard: list[Any] = []
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("event:"))
        heard += [next(lines), next(lines)]
        outage.begin()
        try:
            attempt.tell_metrics(1).end("cancelled")
            until(lambda: service.http.get(f"/v1/jobs/{job_id}"), 503)
        finally:
            outage.end()
        heard += lines
    assert heard == ["event: state", "event: state", "event: metrics", "event: state"]


@pytest.mark.parametrize("keeps_attempts", [False, True])
def test_a_job_trains_on_while_the_database_takes_no_writes_and_its_end_is_written_then(
    start: Start, own_postgresql: PostgreSQL, keeps_attempts: bool
) -> None:
    outage, cluster = ReadOnly(own_postgresql), ScriptedCluster()
    cluster.keeps_attempts = keeps_attempts
    service = start(cluster, outage.url)
    service.upload()
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job().tell_metrics(1)
    until_taken_in(service, job_id)
    outage.begin()
    try:
        attempt.tell_metrics(2).end("succeeded", parameters_sha256="d" * 64, metrics={}, progress=DONE)
        assert service.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 503
        assert service.job(job_id)["state"] == "running", "what there is can be read"
        assert not attempt.closed.is_set()
    finally:
        outage.end()
    assert service.until(job_id, "succeeded")["attempt"] == 1
    assert service.history(job_id) == ["queued", "running", "succeeded"]
