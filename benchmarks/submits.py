"""How many jobs a second are acknowledged and durable, from many clients at once, on SQLite and on PostgreSQL.

A process of its own sends the same small job over 32 connections that are kept open, each the next one when the one
before is answered; a quota keeps all of them waiting, so that nothing trains. Then every process of the service is
killed and it is started again: it must list each job that was acknowledged.
"""

import asyncio
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.light_client import Connection, Place, request
from benchmarks.problem import job, upload
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.together import Start, together
from benchmarks.usage import cpu_s
from chainrule import Client
from examples.postgresql import PostgreSQL
from examples.service_process import ServiceProcess

__all__ = ["Submitted", "listed", "measure", "submit"]

CONNECTIONS = 32
GOALS_PER_S = {"SQLite": 300.0, "PostgreSQL": 500.0}
WITHOUT_LIMITS = (
    *("--quota-running-jobs", "0", "--quota-queued-jobs", "1000000"),
    *("--quota-submits-per-minute", "1000000", "--submit-burst", "1000000"),
)
ROWS, BATCH, EPOCHS = 1_000, 100, 5


class Submitted(NamedTuple):
    """What was acknowledged within a time: ids, how long each answer took, and the client's own CPU time."""

    ids: list[str]
    took_s: list[float]
    lasted_s: float
    client_cpu_s: float


def measure(run: Run) -> Outcome:
    """Jobs a second, how long an answer takes, and who takes the CPU."""
    figures, goals, notes = [], [], []
    for name, goal in GOALS_PER_S.items():
        with ExitStack() as stack:
            options = ["--database-url", stack.enter_context(PostgreSQL()).url] if name == "PostgreSQL" else []
            service = stack.enter_context(ServiceProcess(*WITHOUT_LIMITS, *options))
            service.wait_until_ready()
            rounds, service_cpu = _rounds(run, name, service)
            acknowledged = {job_id for each in rounds for job_id in each.ids}
            run.say(f"{name}: kills the service, and looks for {len(acknowledged):,} jobs")
            service.kill_all()
            service.start()
            service.wait_until_ready()
            with Client(service.url) as client:
                lost = acknowledged - listed(client)
        if lost:
            raise BenchmarkFailed(
                f"{len(lost)} of {len(acknowledged)} acknowledged jobs are gone after kill -9 on {name}"
            )
        per_s = Spread.of([len(each.ids) / each.lasted_s for each in rounds])
        took_ms = [seconds * 1e3 for each in rounds for seconds in each.took_s]
        figures += [
            Figure(name, "acknowledged", "jobs/s", per_s),
            Figure(name, "answer, p50", "ms", Spread.of(took_ms)),
            Figure(name, "answer, p99", "ms", Spread.of(took_ms, 0.99)),
            Figure(name, "CPU of the service, a job", "ms", Spread.of(service_cpu)),
            Figure(name, "CPU of the client, a job", "ms", Spread.of([_client_ms(each) for each in rounds])),
        ]
        goals.append(Goal(f"durable submits on {name}", "jobs/s", goal, per_s))
        notes.append(f"{name}: all {len(acknowledged):,} acknowledged jobs were listed after kill -9")
    return Outcome(figures, goals, notes)


def _rounds(run: Run, name: str, service: ServiceProcess) -> tuple[list[Submitted], list[float]]:
    """Each round, after one that is not counted, and the CPU milliseconds of the service for a job."""
    seconds, rounds, cpu_ms = run.amount(5.0, quick=1.0), [], []
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, Client(service.url) as client:
        upload(client, Path(folder), ROWS)
        place = Place(service.url, client.key or "")
    for number in range(run.amount(4, quick=2)):
        run.say(f"{name}: round {number}")
        before = cpu_s(service.process_id)
        [submitted] = together(1, partial(_submit_apart, place, job(ROWS, BATCH, EPOCHS), seconds))
        if number > 0:
            rounds.append(submitted)
            cpu_ms.append((cpu_s(service.process_id) - before) / len(submitted.ids) * 1e3)
    return rounds, cpu_ms


def _client_ms(submitted: Submitted) -> float:
    return submitted.client_cpu_s / len(submitted.ids) * 1e3


def _submit_apart(place: Place, spec: dict[str, Any], seconds: float, start: Start, _number: int) -> Submitted:
    start()
    return asyncio.run(submit(place, spec, seconds))


async def submit(place: Place, spec: dict[str, Any], seconds: float, connections: int = CONNECTIONS) -> Submitted:
    """Submits a job again and again for so long. Raises BenchmarkFailed when one is refused."""
    sent = request(place, "POST", "/v1/jobs", spec)
    ids: list[str] = []
    took_s: list[float] = []
    opened = [await Connection.open(place) for _ in range(connections)]
    began, cpu = time.perf_counter(), time.process_time()

    async def again(connection: Connection) -> None:
        while time.perf_counter() < began + seconds:
            answer = await connection.ask(sent)
            if answer.status != 202:
                raise BenchmarkFailed(f"a submit: got {answer.status} {answer.body.decode()}, expected 202")
            ids.append(answer.json()["id"])
            took_s.append(answer.took_s)

    await asyncio.gather(*map(again, opened))
    lasted_s, client_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    for connection in opened:
        connection.close()
    return Submitted(ids, took_s, lasted_s, client_cpu_s)


def listed(client: Client) -> set[str]:
    """The ids of all jobs."""
    return {job.id for job in client.jobs()}
