"""The benchmarks of load measure what they say, on a service in this process whose jobs do what the test says."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.light_client import Connection, Place, request
from benchmarks.lists import asked, requests
from benchmarks.many_jobs import LABELS, fill
from benchmarks.records import BenchmarkFailed
from benchmarks.streams import heard
from benchmarks.submits import listed, submit
from benchmarks.usage import cpu_s, memory_bytes
from benchmarks.whole_load import team
from chainrule import Client
from service.settings import Settings
from support.clusters import ScriptedCluster
from support.service_in_process import SPEC, Service

JOBS, QUEUED = 200, 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a data set."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("load") / "data", submit_burst=10_000)
    service = Service(settings, ScriptedCluster(cpus=2))
    service.control.ready.wait(20)
    service.upload()
    yield service
    service.cluster.let_go()
    service.stop()


@pytest.fixture
def place(service: Service) -> Place:
    return Place(service.url, service.key)


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, key=service.key) as client:
        yield client


@pytest.fixture
def paused(service: Service) -> Iterator[str]:
    """A job that has been paused, and trains and tells of ten steps as soon as it resumes."""
    job_id = str(service.submit(priority=10)["id"])
    attempt = service.cluster.next_job().tell_metrics(1)
    service.act(job_id, "pause")
    attempt.end("paused")
    service.until(job_id, "paused")

    def train() -> None:
        attempt = service.cluster.next_job()
        for step in range(2, 12):
            attempt.tell_metrics(step)
        attempt.end("succeeded", parameters_sha256="d" * 64)

    training = threading.Thread(target=train)
    training.start()
    yield job_id
    training.join()


def test_every_submit_that_is_acknowledged_is_counted_and_listed(place: Place, client: Client) -> None:
    spec = {**SPEC, "workers": {"min": 8, "max": 8}}
    submitted = asyncio.run(submit(place, spec, seconds=0.3, connections=4))
    assert len(submitted.ids) == len(submitted.took_s) >= 4
    assert set(submitted.ids) <= listed(client)
    assert submitted.lasted_s >= 0.3
    assert submitted.client_cpu_s > 0  # that of this whole process, the service's too


def test_a_database_is_filled_and_what_it_holds_is_asked_for(service: Service, place: Place, client: Client) -> None:
    job_id = service.submit(priority=20)["id"]
    service.cluster.next_job().tell_metrics(1).end("succeeded", parameters_sha256="d" * 64)
    service.until(job_id, "succeeded")
    before = len(listed(client))
    database = str(service.control.settings.database)
    fill(database, job_id, before + JOBS, QUEUED)
    assert len(listed(client)) == before + JOBS
    newest = client.jobs(limit=QUEUED + 1).items
    assert [job.state for job in newest] == ["queued"] * QUEUED + ["cancelled" if JOBS % 5 else newest[-1].state]
    assert len(client.jobs(label="team=team 7", limit=500).items) == JOBS // LABELS
    assert service.http.get(f"/v1/jobs/{newest[-1].id}/metrics").json()["items"]
    took_s = asyncio.run(asked(place, requests(place, client), seconds=0.3, per_s=50.0))
    assert set(map(len, took_s.values())) == {3}
    assert all(0 < each < 20 for times in took_s.values() for each in times)


def test_every_stream_is_heard_to_its_end(service: Service, place: Place, paused: str) -> None:
    database = Path(str(service.control.settings.database).removeprefix("sqlite:///"))
    found = asyncio.run(heard(place, database, os.getpid(), paused, count=20, seconds=20.0))
    assert len(found.delays_s) >= 11
    assert 0 <= max(found.delays_s) < 20
    assert found.open_bytes > 0 < found.before_bytes


def test_a_team_does_all_that_it_says_until_the_job_ends(place: Place, paused: str) -> None:
    used = asyncio.run(team(place, os.getpid(), paused, {**SPEC, "workers": {"min": 8, "max": 8}}, streams=5))
    assert (used.submits >= 1, used.reads >= 1) == (True, True)
    assert (used.client_cpu_s > 0, used.service_cpu_s > 0) == (True, True)


def test_what_is_refused_is_told(place: Place) -> None:
    async def ask() -> int:
        connection = await Connection.open(Place(place.url, "wrong"))
        answer = await connection.ask(request(Place(place.url, "wrong"), "GET", "/v1/jobs"))
        connection.close()
        return answer.status

    assert asyncio.run(ask()) == 401


def test_a_connection_that_was_closed_meanwhile_is_told_and_not_waited_for(place: Place) -> None:
    async def ask() -> None:
        connection = await Connection.open(place)
        connection.close()
        await connection.ask(request(place, "GET", "/healthz"))

    with pytest.raises(BenchmarkFailed, match="closed"):
        asyncio.run(ask())


def test_what_a_process_takes_is_read() -> None:
    assert cpu_s(os.getpid()) > 0
    assert memory_bytes(os.getpid()) > 10_000_000
