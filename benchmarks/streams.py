"""1,000 event streams of one job at once: how late an event comes, and how much memory a stream takes.

The streams are opened on one service, from a process of its own, while the job is paused; then it trains on all CPUs
until it is cancelled. An event's delay is from its commit, for which the same process looks into the database every
5 ms, until the last of the streams has it. Every stream must have got the same events, each once and in order. The
service's memory (PSS) is read when nobody listens, and when all do.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.light_client import Listener, Place, ask_once, request
from benchmarks.problem import job, upload
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import paused
from benchmarks.together import Start, together
from benchmarks.usage import cpu_s, memory_bytes
from chainrule import Client
from examples.service_process import ServiceProcess

__all__ = ["Heard", "heard", "measure"]

STREAMS, EVENTS_WITHIN_S, EXTRA_MB = 1_000, 1.0, 300.0
AT_ONCE = 50  # that are being opened
LOOKS_EVERY_S = 0.005
ROWS, BATCH, EPOCHS = 5_000, 100, 100_000  # more than there is time for
"""An epoch, and with it an item of metrics, about every tenth of a second."""


class Heard(NamedTuple):
    """What came of listening: the delay of each event in seconds, the memory of the service before, and when all
    listened, and the client's own CPU time and that of the service, while the job trained for so long."""

    delays_s: list[float]
    before_bytes: int
    open_bytes: int
    client_cpu_s: float
    service_cpu_s: float
    lasted_s: float


def measure(run: Run) -> Outcome:
    """Seconds, and kilobytes a stream."""
    count = run.amount(STREAMS, quick=50)
    with (
        tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder,
        ServiceProcess() as service,
        Client(service.url) as client,
    ):
        service.wait_until_ready()
        upload(client, Path(folder), ROWS)
        run.say("a first job")
        client.wait(client.submit(job(ROWS, BATCH, 2)).id)
        job_id, _ = paused(client, job(ROWS, BATCH, EPOCHS))
        run.say(f"{count:,} streams")
        place = Place(service.url, client.key or "")
        database = service.data_dir / "chainrule.sqlite3"
        [found] = together(
            1, partial(_heard_apart, place, database, service.process_id, job_id, count, run.amount(20.0, quick=3.0))
        )
    return _outcome(found, count)


def _outcome(found: Heard, count: int) -> Outcome:
    middle, late, worst = (Spread.of(found.delays_s, quantile) for quantile in (0.5, 0.99, 1.0))
    extra_mb = Spread.of([(found.open_bytes - found.before_bytes) / 1e6])
    row = f"{count:,} streams"
    figures = [
        Figure(row, "an event at all streams, p50", "s", middle),
        Figure(row, "p99", "s", late),
        Figure(row, "the latest", "s", worst),
        Figure(row, "memory of the service", "MB", Spread.of([found.open_bytes / 1e6])),
        Figure(row, "more than without streams", "MB", extra_mb),
        Figure(row, "a stream", "kB", Spread.of([extra_mb.value * 1e3 / count])),
    ]
    goals = [
        Goal(f"{count:,} streams: the latest event", "s", EVENTS_WITHIN_S, worst, at_most=True),
        Goal(f"{count:,} streams: memory beyond that without", "MB", EXTRA_MB, extra_mb, at_most=True),
    ]
    shares = (used / found.lasted_s for used in (found.service_cpu_s, found.client_cpu_s))
    cpus = "the service took {:.2f} CPUs meanwhile, the client {:.2f}".format(*shares)
    return Outcome(figures, goals, [f"{len(found.delays_s):,} events in {found.lasted_s:.0f} s; {cpus}"])


def _heard_apart(
    place: Place, database: Path, process_id: int, job_id: str, count: int, seconds: float, start: Start, _number: int
) -> Heard:
    start()
    return asyncio.run(heard(place, database, process_id, job_id, count, seconds))


class _Arrivals:
    """When each event came first and last, and at how many streams it did."""

    def __init__(self) -> None:
        self.last_at: dict[int, float] = {}
        self.streams: dict[int, int] = {}
        self.disorder: str | None = None

    def listener(self) -> Callable[[Iterable[int]], None]:
        """What one stream tells."""
        before = 0

        def hears(numbers: Iterable[int]) -> None:
            nonlocal before
            now = time.monotonic()
            for number in numbers:
                if number <= before:
                    self.disorder = f"a stream told of event {number} after {before}"
                before = number
                self.last_at[number] = now
                self.streams[number] = self.streams.get(number, 0) + 1

        return hears


async def heard(place: Place, database: Path, process_id: int, job_id: str, count: int, seconds: float) -> Heard:
    """Opens so many streams of a job, has it resume, cancels it after so long, and listens until its end.

    Raises BenchmarkFailed.
    """
    arrivals = _Arrivals()
    commits: dict[int, float] = {}
    before_bytes = memory_bytes(process_id)
    listeners: list[Listener] = []
    for _ in range(0, count, AT_ONCE):
        opened = min(AT_ONCE, count - len(listeners))
        listeners += [await Listener.open(place, job_id, arrivals.listener()) for _ in range(opened)]
        while arrivals.streams.get(1, 0) < len(listeners):
            await asyncio.sleep(0.01)
    open_bytes, opened_at = memory_bytes(process_id), time.monotonic()
    client_cpu, service_cpu = time.process_time(), cpu_s(process_id)
    await ask_once(place, request(place, "POST", f"/v1/jobs/{job_id}/resume"))
    ended = asyncio.gather(*(listener.ended for listener in listeners))
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as looking:
        while not ended.done():
            _note_commits(looking, job_id, commits)
            await asyncio.sleep(LOOKS_EVERY_S)
            if seconds > 0 and time.monotonic() > opened_at + seconds:
                seconds = 0.0
                await ask_once(place, request(place, "POST", f"/v1/jobs/{job_id}/cancel"))
    used = time.process_time() - client_cpu, cpu_s(process_id) - service_cpu
    _check(arrivals, count)
    delays = _delays_s(arrivals.last_at, commits, opened_at)
    return Heard(delays, before_bytes, open_bytes, *used, time.monotonic() - opened_at)


def _note_commits(connection: sqlite3.Connection, job_id: str, commits: dict[int, float]) -> None:
    """Notes that the events up to the job's last one are committed now, those that were not before."""
    [last] = connection.execute("SELECT last_event FROM jobs WHERE id = ?", (job_id,)).fetchone()
    now = time.monotonic()
    for number in range(len(commits) + 1, last + 1):
        commits[number] = now


def _check(arrivals: _Arrivals, count: int) -> None:
    """Raises BenchmarkFailed unless every stream got the same events, in order."""
    if arrivals.disorder is not None:
        raise BenchmarkFailed(arrivals.disorder)
    for number, found in arrivals.streams.items():
        if found != count:
            raise BenchmarkFailed(f"event {number} came to {found:,} streams, expected {count:,}")


def _delays_s(last_at: Mapping[int, float], commits: Mapping[int, float], since: float) -> list[float]:
    """Of the events that were committed when all streams were open."""
    return [
        max(0.0, at - commits[number])
        for number, at in last_at.items()
        if number in commits and commits[number] > since
    ]
