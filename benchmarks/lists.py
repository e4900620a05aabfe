"""How quickly jobs are shown and listed where there are many, while three train: p50 and p99, on SQLite and PostgreSQL.

The database holds 10,000 and then 100,000 jobs, most of which have ended, and 1,000 of which wait. 50 requests a second
come over 8 connections, from a process of its own, each at its time whether those before have been answered or not: a
job by its id, lists of 50, also by state and by label, and the page after. A request's time is from when it was due.
"""

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.light_client import Connection, Place, request
from benchmarks.many_jobs import fill
from benchmarks.problem import job, upload
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.together import Start, together
from chainrule import Client
from examples.postgresql import PostgreSQL
from examples.service_process import ServiceProcess

__all__ = ["asked", "measure", "requests"]

DATABASES = ("SQLite", "PostgreSQL")
SIZES = (10_000, 100_000)
PER_S, CONNECTIONS, TRAINING = 50.0, 8, 3
P99_MS = 30.0
ROWS, BATCH, EPOCHS = 10_000, 500, 1_000_000  # as many as take longer than all requests


def measure(run: Run) -> Outcome:
    """Milliseconds until the answer."""
    figures, goals = [], []
    sizes = [run.amount(size, quick=size // 100) for size in SIZES]
    for name in DATABASES:
        with ExitStack() as stack:
            url = stack.enter_context(PostgreSQL()).url if name == "PostgreSQL" else None
            options = ["--cpus", str(TRAINING), *(() if url is None else ("--database-url", url))]
            service = stack.enter_context(ServiceProcess(*options))
            service.wait_until_ready()
            client = stack.enter_context(Client(service.url))
            database = f"sqlite:///{service.data_dir / 'chainrule.sqlite3'}" if url is None else url
            database = database.replace("postgresql://", "postgresql+psycopg://")
            ended, folder = _ended_job(client), stack.enter_context(tempfile.TemporaryDirectory(prefix="chainrule-"))
            upload(client, Path(folder), ROWS)
            stack.enter_context(_training(client))
            for size in sizes:
                run.say(f"{name}: {size:,} jobs")
                fill(database, ended, size, size // 10 if size == sizes[0] else 0)
                place = Place(service.url, client.key or "")
                [took_s] = together(1, partial(_ask_apart, place, requests(place, client), run.amount(20.0, quick=2.0)))
                found = {what: Spread.of([each * 1e3 for each in seconds], 0.99) for what, seconds in took_s.items()}
                for what, seconds in took_s.items():
                    middle = Spread.of([each * 1e3 for each in seconds])
                    figures += [
                        Figure(f"{name}, {size:,} jobs: {what}", "p50", "ms", middle),
                        Figure(f"{name}, {size:,} jobs: {what}", "p99", "ms", found[what]),
                    ]
                if size == sizes[-1]:
                    goals += [
                        Goal(f"p99 of {what}, {size:,} jobs on {name}", "ms", P99_MS, each, at_most=True)
                        for what, each in found.items()
                    ]
    return Outcome(figures, goals)


def _ended_job(client: Client) -> str:
    """A small job that has succeeded."""
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        upload(client, Path(folder), 1_000)
    return client.wait(client.submit(job(1_000, 100, 5)).id).id


@contextmanager
def _training(client: Client) -> Iterator[None]:
    """Three jobs train meanwhile, each with one worker."""
    spec = job(ROWS, BATCH, EPOCHS, workers={"min": 1, "max": 1}, priority=1)
    ids = [client.submit(spec).id for _ in range(TRAINING)]
    for job_id in ids:
        next(event for event in client.events(job_id) if event.type == "progress" and event.data["step"] > 0)
    try:
        yield
    finally:
        for job_id in ids:
            client.cancel(job_id)


def requests(place: Place, client: Client) -> dict[str, list[bytes]]:
    """What is asked for, by its name: many of each sort, made before."""
    page = client.jobs(limit=50)
    older = client.jobs(limit=50, cursor=page.next_cursor)
    get = [request(place, "GET", f"/v1/jobs/{each.id}") for each in (*page.items, *older.items)]
    lists = {
        "a list": "limit=50",
        "a list by state": "limit=50&state=succeeded&state=failed",
        "a list by label": "limit=50&label=team=team%207",
        "the page after": f"limit=50&cursor={page.next_cursor}",
    }
    return {"a job": get, **{what: [request(place, "GET", f"/v1/jobs?{query}")] for what, query in lists.items()}}


def _ask_apart(
    place: Place, sent: Mapping[str, Sequence[bytes]], seconds: float, start: Start, _number: int
) -> dict[str, list[float]]:
    start()
    return asyncio.run(asked(place, sent, seconds))


async def asked(
    place: Place, sent: Mapping[str, Sequence[bytes]], seconds: float, per_s: float = PER_S
) -> dict[str, list[float]]:
    """Asks for each in turn, so many times a second in all; the seconds from when each was due until its answer.

    Raises BenchmarkFailed when one is refused.
    """
    took_s: dict[str, list[float]] = defaultdict(list)
    names, free = list(sent), asyncio.Queue[Connection]()
    for _ in range(CONNECTIONS):
        free.put_nowait(await Connection.open(place))
    began = time.perf_counter()

    async def ask(number: int) -> None:
        what = names[number % len(names)]
        due = began + number / per_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        answer = await connection.ask(sent[what][number // len(names) % len(sent[what])])
        took_s[what].append(time.perf_counter() - due)
        free.put_nowait(connection)
        if answer.status != 200:
            raise BenchmarkFailed(f"{what}: got {answer.status} {answer.body.decode()}, expected 200")

    await asyncio.gather(*(ask(number) for number in range(int(seconds * per_s))))
    while not free.empty():
        free.get_nowait().close()
    return dict(took_s)
