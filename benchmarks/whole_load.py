"""How much slower a job trains while a team uses its service: samples a second with and without all of it, by turns.

A job of two workers trains on both cores, in rounds: with nothing else, then while a process of its own is the team:
1,000 event streams of the job, 5 submits a second of jobs that wait, 20 requests a second for jobs and lists, and
`/metrics` every 5 seconds. The team's process runs on the same cores, and takes its part of them; the notes say how
much.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.light_client import Listener, Place, ask_once, request
from benchmarks.problem import SHARDS, job, upload
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import paused, trained
from benchmarks.together import Start, together
from benchmarks.usage import cpu_s
from chainrule import Client
from examples.service_process import ServiceProcess

__all__ = ["Used", "measure", "team"]

STREAMS, SUBMITS_PER_S, READS_PER_S, METRICS_EVERY_S = 1_000, 5.0, 20.0, 5.0
SLOWER_PERCENT = 10.0
AT_ONCE = 50  # streams that are being opened
ROWS, BATCH = 20_480, 2_048
ROUNDS = 8  # alone, a job is now and then a fifth slower than the one before, so that few rounds tell little
WITHOUT_LIMITS = ("--quota-queued-jobs", "1000000", "--quota-submits-per-minute", "1000000")


class Used(NamedTuple):
    """What the team did while the job trained, and the CPU seconds that this took it and the service."""

    submits: int
    reads: int
    client_cpu_s: float
    service_cpu_s: float
    lasted_s: float


def measure(run: Run) -> Outcome:
    """Samples a second, and what the load takes of them."""
    rows, epochs = run.amount(ROWS, quick=2 * BATCH), run.amount(60, quick=20)
    streams = run.amount(STREAMS, quick=20)
    alone: list[float] = []
    loaded: list[float] = []
    notes: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder,
        ServiceProcess(*WITHOUT_LIMITS) as service,
        Client(service.url) as client,
    ):
        service.wait_until_ready()
        upload(client, Path(folder), rows)
        trained(client, job(rows, BATCH, 2))
        place, spec = Place(service.url, client.key or ""), job(rows, BATCH, epochs, priority=1)
        for number in range(1, run.amount(ROUNDS, quick=1) + 1):
            run.say(f"round {number}: alone")
            job_id, step = paused(client, spec)
            client.resume(job_id)
            alone.append(_pace(client, job_id, step))
            run.say(f"round {number}: with the whole load")
            job_id, step = paused(client, spec)
            [used] = together(1, partial(_team_apart, place, service.process_id, job_id, _waits(rows), streams))
            loaded.append(_pace(client, job_id, step))
            notes.append(_note(number, used))
    slower = Spread.of([(1 - beside / by_itself) * 100 for beside, by_itself in zip(loaded, alone, strict=True)])
    figures = [
        Figure("alone", "training, samples/s", "", Spread.of(alone)),
        Figure("with the whole load", "training, samples/s", "", Spread.of(loaded)),
        Figure("with the whole load", "slower", "%", slower),
    ]
    goal = Goal("training slowed by the whole load", "%", SLOWER_PERCENT, slower, at_most=True)
    return Outcome(figures, [goal], notes)


def _waits(rows: int) -> dict[str, Any]:
    """A job that needs more CPUs than there are."""
    return job(rows, BATCH, 1, workers={"min": SHARDS, "max": SHARDS})


def _pace(client: Client, job_id: str, after: int) -> float:
    """Samples a second from the second item of its metrics after a step on. Raises BenchmarkFailed."""
    ended = client.wait(job_id)
    if ended.state != "succeeded":
        raise BenchmarkFailed(f"a job: got {ended.state} ({ended.reason}), expected succeeded")
    first, *_, last = [item for item in client.metrics(job_id) if item["step"] > after][1:]
    client.delete_job(job_id)
    return float((last["step"] - first["step"]) * BATCH / (last["elapsed_s"] - first["elapsed_s"]))


def _note(number: int, used: Used) -> str:
    did = f"{used.submits:,} submits and {used.reads:,} reads in {used.lasted_s:.0f} s"
    shares = (each / used.lasted_s for each in (used.service_cpu_s, used.client_cpu_s))
    return f"round {number}: {did}; " + "the service took {:.2f} CPUs, the team {:.2f}".format(*shares)


# ---------------------------------------------------------------- the team
def _team_apart(
    place: Place, process_id: int, job_id: str, waits: dict[str, Any], streams: int, start: Start, _number: int
) -> Used:
    start()
    return asyncio.run(team(place, process_id, job_id, waits, streams))


async def team(place: Place, process_id: int, job_id: str, waits: dict[str, Any], streams: int) -> Used:
    """Opens so many streams of a paused job, has it resume, and does all the rest until its end. `process_id` is that
    of the service."""
    listeners = await _listening(place, job_id, streams)
    began, cpu, service_cpu = time.monotonic(), time.process_time(), cpu_s(process_id)
    await ask_once(place, request(place, "POST", f"/v1/jobs/{job_id}/resume"))
    ended = asyncio.gather(*(listener.ended for listener in listeners))
    reads = [
        f"/v1/jobs/{job_id}",
        "/v1/jobs?limit=50",
        "/v1/jobs?limit=50&state=running&state=queued",
        "/v1/jobs?limit=5",
    ]
    submits, looks, _ = await asyncio.gather(
        _again(place, [request(place, "POST", "/v1/jobs", waits)], 1 / SUBMITS_PER_S, ended),
        _again(place, [request(place, "GET", path) for path in reads], 1 / READS_PER_S, ended),
        _again(place, [request(place, "GET", "/metrics")], METRICS_EVERY_S, ended),
    )
    client_cpu_s, service_cpu_s = time.process_time() - cpu, cpu_s(process_id) - service_cpu
    return Used(submits, looks, client_cpu_s, service_cpu_s, time.monotonic() - began)


async def _listening(place: Place, job_id: str, count: int) -> list[Listener]:
    """So many streams, each of which has told of something."""
    told = 0

    def hears(_numbers: Iterable[int]) -> None:
        nonlocal told
        told += 1

    listeners: list[Listener] = []
    while len(listeners) < count:
        more = min(AT_ONCE, count - len(listeners))
        listeners += [await Listener.open(place, job_id, hears) for _ in range(more)]
        while told < len(listeners):
            await asyncio.sleep(0.01)
    return listeners


async def _again(place: Place, sent: Sequence[bytes], every_s: float, ended: "asyncio.Future[Any]") -> int:
    """Sends one after the other, each at its time, until the end; how many. Raises BenchmarkFailed."""
    began, count = time.monotonic(), 0
    while not ended.done():
        answer = await ask_once(place, sent[count % len(sent)])
        if answer.status not in (200, 202):
            raise BenchmarkFailed(f"a request: got {answer.status} {answer.body.decode()}, expected 200 or 202")
        count += 1
        await asyncio.wait({ended}, timeout=max(0.0, began + count * every_s - time.monotonic()))
    return count
