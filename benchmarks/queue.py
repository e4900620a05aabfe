"""What a long queue costs: a pass of the scheduler, a submit, and a job shown with its place and its estimated start.

The queue holds nothing, then 10,000 jobs that could start if the one CPU were free, first of one tenant, then of 1,000,
on SQLite and PostgreSQL. Submits and reads go through a service, one after the other. A pass is measured in this
process, on the database of the service, which has stopped: all that the scheduler's thread does at once, and what
readers are told of places, which it finds out once a second. The first pass, which tells each job why it waits, is not
counted.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.many_jobs import fill
from benchmarks.problem import job, upload
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from chainrule import Client
from examples.postgresql import PostgreSQL
from examples.service_process import ServiceProcess
from service.allocation import Running
from service.database import WAITS, Database, jobs
from service.jobs import JobState
from service.scheduler import Scheduler
from service.store import Store
from shared.spec import HIGHEST_PRIORITY
from workers.job import Node

__all__ = ["divide", "measure", "passes_s"]

DATABASES = ("SQLite", "PostgreSQL")
QUEUED, TENANTS = 10_000, 1_000
PASS_MS = 50.0
ROWS, BATCH = 1_000, 100


def measure(run: Run) -> Outcome:
    """Milliseconds."""
    figures: list[Figure] = []
    goals: list[Goal] = []
    queued, tenants = run.amount(QUEUED, quick=QUEUED // 100), run.amount(TENANTS, quick=TENANTS // 100)
    many, shared = f"{queued:,} jobs of 1 tenant", f"{queued:,} jobs of {tenants:,} tenants"
    for name in DATABASES:
        with ExitStack() as stack:
            url = stack.enter_context(PostgreSQL()).url if name == "PostgreSQL" else None
            options = ["--cpus", "1", *(() if url is None else ("--database-url", url))]
            service = stack.enter_context(ServiceProcess(*options))
            service.wait_until_ready()
            client = stack.enter_context(Client(service.url))
            found = url or f"sqlite:///{service.data_dir / 'chainrule.sqlite3'}"
            database = found.replace("postgresql://", "postgresql+psycopg://")

            def told(what: str, row: str, seconds: Sequence[float], name: str = name) -> None:
                run.say(f"{name}: {what}, {row}")
                figures.append(Figure(f"{name}: {row}", what, "ms", Spread.of([each * 1e3 for each in seconds])))

            spec, ended = _spec(client), ""
            ended = client.wait(client.submit({**spec, "epochs": 1}).id).id
            busy = client.submit({**spec, "epochs": 1_000_000, "priority": 1}).id
            for row, prepare in _levels(database, ended, queued, tenants, many, shared).items():
                prepare()
                time.sleep(run.amount(6.0, quick=2.0))  # until places are known anew
                submit_s, show_s = _submits_and_reads(client, spec, run.amount(50, quick=5))
                told("a submit", row, submit_s)
                told("a job", row, show_s)
            client.cancel(busy)
            service.stop()
            for row in (shared, many, "nothing waits"):
                if row == many:
                    divide(database, 1)
                if row == "nothing waits":
                    _clear(database)
                seconds = passes_s(database, 1 + run.amount(20, quick=3))[1:]
                told("a pass", row, seconds)
                spread = Spread.of([each * 1e3 for each in seconds])
                goals.append(Goal(f"a pass, {row}, on {name}", "ms", PASS_MS, spread, at_most=True))
    return Outcome(figures, goals)


def _levels(
    database: str, ended: str, queued: int, tenants: int, many: str, shared: str
) -> Mapping[str, Callable[[], None]]:
    def enqueue() -> None:
        fill(database, ended, queued + 1, queued, cpus=1)

    return {"nothing waits": lambda: None, many: enqueue, shared: lambda: divide(database, tenants)}


def _spec(client: Client) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        upload(client, Path(folder), ROWS)
    return job(ROWS, BATCH, 1, workers={"min": 1, "max": 1})


def _submits_and_reads(client: Client, spec: Mapping[str, Any], count: int) -> tuple[list[float], list[float]]:
    """Seconds for each submit, and for each look at the job that it made, which waits; they are cancelled then."""
    submit_s, show_s, ids = [], [], []
    for _ in range(count):
        began = time.perf_counter()
        ids.append(client.submit(spec).id)
        submit_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        client.job(ids[-1])
        show_s.append(time.perf_counter() - began)
    for job_id in ids:
        client.cancel(job_id)
    return submit_s, show_s


def divide(url: str, tenants: int) -> None:
    """Has the jobs that wait belong to so many tenants, by turns."""
    database = Database(url)
    owner = sa.literal("tenant-") + sa.cast(jobs.c.number % tenants, sa.String)
    with database.writing() as connection:
        connection.execute(sa.update(jobs).where(WAITS).values(tenant=owner))
    with database.writing() as connection:
        connection.execute(sa.text("ANALYZE"))
    database.close()


def _clear(url: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.execute(sa.update(jobs).where(WAITS).values(state=JobState.CANCELLED))
    database.close()


# ---------------------------------------------------------------- the scheduler's surroundings
class _OneBusyCpu:
    """The cluster, the attempts and the takeover of a scheduler that finds its one CPU taken, at another one's."""

    def nodes(self) -> list[Node]:
        return [Node("node", "127.0.0.1", 1.0, 1 << 30, None)]

    def running(self) -> list[Running]:
        return [Running("busy", 1, 1, HIGHEST_PRIORITY, 0, workers=1, wanted=1, cpus=1, tenant="busy")]

    def look(self) -> None:
        """Nobody's jobs are there to be taken over."""


def passes_s(url: str, count: int) -> list[float]:
    """The seconds of so many passes over the jobs that wait in a database, which start none."""
    database, busy, took_s = Database(url), _OneBusyCpu(), []
    store = Store(database)
    for _ in range(count):
        surroundings: Any = busy
        scheduler = Scheduler(store, surroundings, surroundings, surroundings)  # a new one looks up places each time
        began = time.perf_counter()
        scheduler.step()
        took_s.append(time.perf_counter() - began)
    database.close()
    return took_s
