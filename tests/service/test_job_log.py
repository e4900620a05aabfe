"""A job's log: what happened, in words, once, at every control plane, and only for its tenant."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule.sse import EventParser, ServerSentEvent
from service.database import Database
from service.job_log import LOOKS_EVERY, MOST_LINES
from service.jobs import JobState, Move
from service.reports import meaning_of
from service.settings import Settings
from service.store import Store, Told
from support.clusters import LocalCluster
from support.jobs import TENANT, new_job, with_a_dataset
from support.problems import errors_of
from support.service_in_process import WITHIN_S, Service
from workers.job import Report

STARTED = {"environment": {"blas_kernel": "Haswell"}, "workers": 2, "members": [0, 1], "resumed_from_step": 0}
LINE = {"level": "info", "source": "coordinator", "message": "a line"}


def lines(service: Service, job_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = service.http.get(f"/v1/jobs/{job_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def followed(service: Service, job_id: str, last_event_id: str | None = None) -> list[ServerSentEvent]:
    """Everything that the stream tells until it ends."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    parser = EventParser()
    with service.http.stream("GET", f"/v1/jobs/{job_id}/logs/stream", headers=headers, timeout=WITHIN_S) as answer:
        return [event for chunk in answer.iter_bytes() for event in parser.feed(chunk)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service that has really trained a job."""
    service = Service(Settings(data_dir=tmp_path_factory.mktemp("data")), LocalCluster(cpus=2))
    assert service.control.ready.wait(WITHIN_S)
    service.upload()
    yield service, service.until(service.submit(validation={"fraction": 0.2})["id"], "succeeded")["id"]
    service.stop()


def running(store: Store) -> str:
    """The id of a job that runs at epoch 1."""
    job, _ = store.add(new_job(epochs=3))
    assert store.move(job.id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"), workers=2)
    return str(job.id)


# ---------------------------------------------------------------- what is in it
def test_a_log_tells_what_a_user_wants_to_know(trained: tuple[Service, str]) -> None:
    service, job_id = trained
    told = lines(service, job_id)
    messages = [line["message"] for line in told]
    assert messages[:2] == ["queued: Submitted.", "running: started on 1 CPU"]
    assert messages[2].startswith("the data are ready: 32 rows to train on, 8 to validate on, 4 inputs, in 0.")
    assert messages[3].startswith("computes with 1 worker, BLAS kernel ")
    assert messages[3].endswith("; starts from the beginning")
    epochs = [message for message in messages if message.startswith("epoch ")]
    assert [message.partition(":")[0] for message in epochs] == ["epoch 1 of 2", "epoch 2 of 2"]
    for words in ("training loss", "validation loss", "RMSE", "samples/s"):
        assert words in epochs[0]
    assert messages[-2].startswith("the checkpoint of step 8 is written: ")
    assert messages[-1] == "succeeded: trained to its end"
    assert {line["source"] for line in told} == {"control_plane", "coordinator"}
    assert {(line["level"], line["attempt"]) for line in told} == {("info", 1)}
    assert [line["at"] for line in told] == sorted(line["at"] for line in told)


def test_losses_and_troubles_are_warnings_and_a_failure_is_an_error(service: Service) -> None:
    job_id = service.submit(workers=2)["id"]
    first = service.cluster.next_job().tell("started", **STARTED)
    first.tell("workers", workers=1, cpus=2, step=3, why="worker 1 was lost", members=[0], before=[0, 1], lost=True)
    first.tell("workers", workers=2, cpus=2, step=9, why="a gradient worker joined", members=[0, 1], before=[0])
    first.tell("log", level="warning", message="computes with the BLAS kernels Haswell and SkylakeX")
    first.tell("trouble", reason="checkpoints cannot be written (No space left on device)")
    service.until(job_id, "running", times=2)  # the start, and the trouble, which comes last
    first.lose("a node died")
    service.cluster.next_job().end("failed", reason="diverged at step 12", error="Diverged")
    service.until(job_id, "failed")
    assert [(line["level"], line["attempt"], line["message"]) for line in lines(service, job_id)] == [
        ("info", 1, "queued: Submitted."),
        ("info", 1, "running: started on 2 CPUs"),
        ("info", 1, "computes with 2 workers, BLAS kernel Haswell; starts from the beginning"),
        ("warning", 1, "computes on 1 CPU from step 3 on: worker 1 was lost"),
        ("info", 1, "computes on 2 CPUs from step 9 on: a gradient worker joined"),
        ("warning", 1, "computes with the BLAS kernels Haswell and SkylakeX"),
        ("warning", 1, "checkpoints cannot be written (No space left on device)"),
        ("warning", 2, "queued: a node died; tried again from the newest checkpoint"),
        ("info", 2, "running: started on 2 CPUs"),
        ("error", 2, "failed: diverged at step 12"),
    ]


def test_who_computes_where_and_from_what_on_is_told() -> None:
    nodes = {"nodes": ["a", "a", "b"], "workers": 3, "resumed_from_step": 1068}
    report = Report(1, "started", {**STARTED, **nodes}, at=0.5)
    meaning = meaning_of([report], 2, {"a": "10.0.0.5", "b": "10.0.0.6"})
    message = "computes with 3 workers, 2 on 10.0.0.5 and 1 on 10.0.0.6, BLAS kernel Haswell; "
    (told,) = meaning.told
    assert told.data["message"] == f"{message}resumes from the checkpoint of step 1,068"
    assert (told.at, told.report) == ("1970-01-01T00:00:00.500000Z", 1)


# ---------------------------------------------------------------- how it is read
def test_a_stream_of_a_log_tells_the_same_and_ends_with_the_job(trained: tuple[Service, str]) -> None:
    service, job_id = trained
    told = followed(service, job_id)
    assert [json.loads(event.data) for event in told] == lines(service, job_id)
    assert {event.type for event in told} == {"log"}
    assert followed(service, job_id, told[3].id) == told[4:]
    assert followed(service, job_id, told[-1].id) == []
    refused = service.http.get(f"/v1/jobs/{job_id}/logs/stream", headers={"Last-Event-ID": "x"})
    assert errors_of(refused) == [("Last-Event-ID", "x")]


def test_a_log_is_paged_and_read_on_after_a_line(trained: tuple[Service, str]) -> None:
    service, job_id = trained
    whole, paged, query = lines(service, job_id), [], {"limit": "2"}
    while True:
        page = service.http.get(f"/v1/jobs/{job_id}/logs", params=query).json()
        paged += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert paged == whole
    assert lines(service, job_id, after=whole[2]["seq"]) == whole[3:]


def test_lines_of_the_log_are_no_events(trained: tuple[Service, str]) -> None:
    service, job_id = trained
    parser = EventParser()
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        events = [event for chunk in answer.iter_bytes() for event in parser.feed(chunk)]
    assert {event.type for event in events} == {"state", "progress", "metrics"}
    start = next(json.loads(event.data) for event in events if '"to": "running"' in event.data)
    assert start["workers"] == 1
    assert all('"trained"' not in event.data for event in events)


def test_a_log_goes_with_its_job(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().tell("log", level="info", message="a line").end("cancelled")
    service.until(job_id, "cancelled")
    service.http.delete(f"/v1/jobs/{job_id}")
    for path in ("logs", "logs/stream"):
        assert service.http.get(f"/v1/jobs/{job_id}/{path}").status_code == 404


# ---------------------------------------------------------------- once, and not too much
def test_a_report_is_taken_in_once_however_often_it_is_told(database: Database, tmp_path: Path) -> None:
    with_a_dataset(database, tmp_path)
    store = Store(database)
    job_id = running(store)
    told = [Told("log", LINE, report=number) for number in (1, 2, 3)]
    assert store.record(job_id, 1, told[:2], last_report=2)
    assert store.record(job_id, 1, told, last_report=3), "the commit was lost on the way, or the next owner asks anew"
    assert [line.message for line in store.log_after(TENANT, job_id, 2, 10)[0]] == ["a line"] * 3
    assert store.any_job(job_id).last_report == 3
    store.move(job_id, 1, JobState.RUNNING, lambda _: Move(JobState.QUEUED, "lost"))
    store.move(job_id, 2, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"))
    assert store.any_job(job_id).last_report == 0, "the next attempt counts anew"


def test_the_oldest_of_too_many_lines_are_dropped_and_that_is_said(database: Database, tmp_path: Path) -> None:
    with_a_dataset(database, tmp_path)
    store = Store(database)
    job_id = running(store)
    told = [Told("log", {**LINE, "message": str(number)}) for number in range(MOST_LINES + 3 * LOOKS_EVERY)]
    for first in range(0, len(told), 2_000):
        assert store.record(job_id, 1, told[first : first + 2_000])
    kept, _ = store.log_after(TENANT, job_id, 0, 2 * MOST_LINES)
    assert [line.message for line in kept[:2]] == ["queued: Submitted.", "running: started"]
    assert kept[2].message == "older lines were dropped: there were too many"
    assert [line.message for line in kept[3:]] == [told.data["message"] for told in told[-len(kept) + 3 :]]
    assert MOST_LINES <= len(kept) <= MOST_LINES + LOOKS_EVERY + 3


def test_of_many_epochs_only_some_have_a_line(database: Database, tmp_path: Path) -> None:
    with_a_dataset(database, tmp_path)
    store = Store(database)
    job, _ = store.add(new_job(epochs=6_000))
    store.move(job.id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"))
    store.record(job.id, 1, [Told("metrics", {"step": step, "epoch": step}, step) for step in range(1, 10)])
    epochs = [line.message.partition(" of")[0] for line in store.log_after(TENANT, job.id, 2, 100)[0]]
    assert epochs == ["epoch 3", "epoch 6", "epoch 9"]
