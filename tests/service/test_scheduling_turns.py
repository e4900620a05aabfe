"""Of control planes that share a PostgreSQL one gives out CPUs at a time, and none holds up the others by stopping."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.database import AWAY, IDLE_IN_TRANSACTION_S, SCHEDULING, TURN_WITHIN_S, Database, jobs
from service.jobs import JobState, Move
from service.leases import CLOSE_AFTER_S, LEASE_S, RENEW_S, WATCH_S
from service.runner import Attempt, Runners
from service.scheduler import TICK_S, Scheduler
from service.store import Store
from service.takeover import Takeover
from support.clusters import ScriptedCluster
from support.jobs import new_job, with_a_dataset
from support.service_in_process import WITHIN_S
from support.world import PLAN, TABLE
from workers.job import TrainingJob

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

STOPS = """
import sys
import sqlalchemy as sa
from service.database import AWAY, Database, jobs

database = Database(sys.argv[1])
try:
    with database.scheduling() as keep_turn, database.writing() as connection:
        connection.execute(sa.select(jobs.c.id).with_for_update())
        print("holds", flush=True)
        sys.stdin.readline()
        {use}
except AWAY:
    print("knows", flush=True)
"""


@contextmanager
def stopped(url: str, use: str) -> Iterator[Callable[[], str]]:
    """A process that stops in its turn, in which it has locked all jobs; it tells what becomes of it when it wakes."""
    program = [sys.executable, "-c", STOPS.format(use=use), url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, cwd=Path(__file__).parents[2], **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "holds\n"
            os.kill(process.pid, signal.SIGSTOP)

            def wake() -> str:
                os.kill(process.pid, signal.SIGCONT)
                told, _ = process.communicate("\n", WITHIN_S)
                return str(told).strip()

            yield wake
        finally:
            process.kill()


def job_of(attempt: Attempt) -> TrainingJob:
    return TrainingJob(attempt.job_id, attempt.number, PLAN, TABLE, None, "", attempt.workers, epoch=attempt.epoch)


@contextmanager
def held_for_ever(url: str) -> Iterator[None]:
    """The turn of somebody whom nobody gives up."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEDULING)))
        yield
    engine.dispose()


@on_postgresql
@pytest.mark.parametrize("use", ["keep_turn()", "connection.execute(sa.select(1))", "pass"])
def test_what_a_control_plane_that_stops_has_locked_is_free_soon_and_it_knows_when_it_wakes(
    database: Database, database_url: str, tmp_path: Path, use: str
) -> None:
    with_a_dataset(database, tmp_path)
    Store(database).add(new_job())
    with stopped(database_url, use) as wake:
        began = time.monotonic()
        with database.writing() as connection:
            connection.execute(sa.update(jobs).values(reason="is free"))
        with database.scheduling() as keep_turn:
            keep_turn()
        assert time.monotonic() < began + IDLE_IN_TRANSACTION_S + TURN_WITHIN_S
        assert wake() == "knows"


def test_nobody_is_held_up_for_as_long_as_would_cost_it_its_own_jobs() -> None:
    assert IDLE_IN_TRANSACTION_S + RENEW_S < CLOSE_AFTER_S
    assert LEASE_S + TURN_WITHIN_S + TICK_S < 20, "in which jobs are to be taken over"
    assert IDLE_IN_TRANSACTION_S + WATCH_S < LEASE_S


@on_postgresql
def test_who_waits_for_its_turn_gives_up_after_a_while(database: Database, database_url: str) -> None:
    with held_for_ever(database_url):
        began = time.monotonic()
        with pytest.raises(AWAY, match="lock timeout"), database.scheduling():
            pass
        assert TURN_WITHIN_S <= time.monotonic() - began < TURN_WITHIN_S + WITHIN_S


@on_postgresql
def test_jobs_are_taken_over_also_while_another_one_does_not_end_its_turn(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    with_a_dataset(database, tmp_path)
    gone, heir = Store(database), Store(database)
    job_id = gone.add(new_job())[0].id
    cluster = ScriptedCluster()
    runners = Runners(heir, cluster, job_of, lambda: None, lambda *_: None)
    seen = [0.0]  # each look of the takeover is a while after the one before

    def clock() -> float:
        seen[0] += WATCH_S
        return seen[0]

    takeover = Takeover(heir, runners, lambda *_: None, at_once=False, clock=clock)
    scheduler = Scheduler(heir, cluster, runners, takeover)
    with held_for_ever(database_url):
        scheduler.start()
        try:
            time.sleep(TURN_WITHIN_S / 2)  # it waits for its turn when the other one is lost
            gone.move(job_id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"), workers=1)
            with database.writing() as connection:
                connection.execute(sa.update(jobs).values(lease_until=1.0))
            until = time.monotonic() + WITHIN_S + 2 * (TURN_WITHIN_S + TICK_S)
            while heir.any_job(job_id).state != JobState.QUEUED:
                assert time.monotonic() < until
                time.sleep(0.05)
        finally:
            scheduler.stop()
