"""Of two control planes, which share PostgreSQL, a Ray cluster and the data folder, the one that has the job is killed
(SIGKILL), or stopped (SIGSTOP) and let go on once the other has the job; then the other, when that one is there again.

The one that is left takes the job over while its attempt goes on, and tells of it. One that wakes has no say any more.
"""

import os
import signal
import time
from contextlib import ExitStack

import psycopg

from benchmarks.records import BenchmarkFailed
from chaos.ownership import control_planes, owned
from chaos.ray_nodes import ray_nodes
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally
from chaos.watch import Hung, Watch
from examples.postgresql import PostgreSQL

__all__ = ["measure"]

WITHIN_S = 20.0  # a lease of 15 s, and a look at it every 2 s
EPOCHS = 6000  # several takeovers long
SAYS_ALIVE_WITHIN_S = 10.0  # of being ready
TAKEN_WITHIN_S = 120.0  # else it never is


def measure(run: Run) -> Finding:
    with ExitStack() as stack:
        cluster = stack.enter_context(ray_nodes(run, cpus=[2]))
        postgres = stack.enter_context(PostgreSQL(run.folder))
        connection = stack.enter_context(psycopg.connect(postgres.url, autocommit=True))
        options = ("--ray-address", cluster.address, "--database-url", postgres.url)
        planes: dict[str, Service] = {}  # by the ids that they have in the database
        for _ in range(2):
            plane = stack.enter_context(running(run, *options, data_dir=run.folder / "data"))
            planes[_new_id(connection, set(planes))] = plane
        first = next(iter(planes.values()))
        tally = Tally(first, "kills and stops", run.amount(20, quick=2))
        spec = first.spec(run.amount(EPOCHS, quick=2000))
        digest = first.undisturbed(spec)
        while not tally.enough:
            job_id = first.client.submit(spec).id
            try:
                while not tally.enough and _kill_owner(tally, job_id, connection, planes):
                    pass
            except Hung as hung:
                tally.jobs += 1
                tally.lose("\n".join([str(hung), *(plane.log_tail() for plane in planes.values())]))
                break
            tally.ends(job_id, digest)
        return tally.finding(WITHIN_S)


def _new_id(connection: psycopg.Connection, known: set[str]) -> str:
    """The id of a control plane that has just started, which is another one each time. Raises BenchmarkFailed."""
    deadline = time.monotonic() + SAYS_ALIVE_WITHIN_S
    while not (new := control_planes(connection) - known):
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"a control plane did not say within {SAYS_ALIVE_WITHIN_S:.0f} s that it is alive")
        time.sleep(0.05)  # the database is not told of it, it is asked
    return new.pop()


def _kill_owner(tally: Tally, job_id: str, connection: psycopg.Connection, planes: dict[str, Service]) -> bool:
    """Kills or stops the one that has the job, while it trains, and has it there again; whether the job still trained
    then."""
    if Watch(next(iter(planes.values())).url, job_id).goes_on(since=0.0) is None:
        return False
    before = owned(connection, job_id)
    if before.owner is None:  # it has ended just now
        return False
    victim = planes[before.owner]
    [(survivor_id, survivor)] = ((its_id, plane) for its_id, plane in planes.items() if plane is not victim)
    watch = Watch(survivor.url, job_id)
    if watch.goes_on(since=0.0) is None or watch.is_over_within(victim.run.draw.uniform(0.3, 1.5)):
        return False
    stops = victim.run.draw.random() < 0.5
    at = time.monotonic()
    if stops:
        os.kill(victim.process_id, signal.SIGSTOP)
    else:
        victim.kill()
    try:
        taken_at = _taken_at(connection, watch, before.owner)
        told_at = None if taken_at is None else watch.goes_on(taken_at)
        taken = owned(connection, job_id)
    finally:
        if stops:
            os.kill(victim.process_id, signal.SIGCONT)
    known = control_planes(connection)
    if not stops:
        victim.start()
    victim.wait_until_ready()
    if not stops:
        del planes[before.owner]
        planes[_new_id(connection, known)] = victim
    if told_at is None:
        return False
    tally.count(told_at - at)
    if taken.owner not in (survivor_id, None) or taken.attempt != before.attempt:  # no owner: it has ended since
        tally.broken.append(f"{job_id} was not taken over as it ran: it was {before}, and is {taken}")
    if (now := owned(connection, job_id)) != taken and now.owner is not None:
        tally.broken.append(f"{job_id} was taken by {survivor_id}, and did not stay there: it is {now}")
    return not watch.is_over_within(0)


def _taken_at(connection: psycopg.Connection, watch: Watch, owner: str) -> float | None:
    """The moment at which the job has another owner, which what is told before says nothing of; None if it has ended
    before. Raises Hung."""
    deadline = time.monotonic() + TAKEN_WITHIN_S
    while not watch.is_over_within(0.05):  # the database is not told of it, it is asked
        if owned(connection, watch.job_id).owner not in (owner, None):
            return time.monotonic()
        if time.monotonic() > deadline:
            raise Hung(f"{watch.job_id} was not taken over within {TAKEN_WITHIN_S:.0f} s")
    return None
