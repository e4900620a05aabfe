"""What a control plane does about the attempts of others that are gone."""

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from service.database import Database, jobs
from service.jobs import JobState, Move
from service.leases import Lease
from service.runner import Runners
from service.takeover import INTERRUPTED, Takeover
from support.clusters import ScriptedCluster, ScriptedJob
from support.jobs import TENANT, new_job
from support.planes import ControlPlane, expire, history
from support.world import World
from workers.job import Sought


def test_a_job_whose_owner_is_gone_is_queued_for_its_next_attempt(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    other.take_over()
    assert history(other, attempt.job.id) == ["queued", "running"], "its lease has not ended"
    expire(database)
    other.take_over()
    job = other.store.any_job(attempt.job.id)
    assert (job.state, job.attempt, job.reason, job.owner) == ("queued", 2, INTERRUPTED, None)


def test_a_cancel_that_the_owner_did_not_live_to_see_is_done(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    other.store.request(TENANT, attempt.job.id, "cancel")
    expire(database)
    other.take_over()
    assert other.store.any_job(attempt.job.id).state == "cancelled"
    assert other.terminal == [attempt.job.id]


def test_an_attempt_that_still_runs_is_adopted_and_goes_on_as_the_same_attempt(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    job_id = attempt.job.id
    other.cluster.left[job_id] = attempt
    other.store.request(TENANT, job_id, "pause")
    expire(database)
    other.take_over()
    other.heartbeat.beat()
    assert attempt.asked() == "pause", "also what was asked for meanwhile reaches it"
    attempt.tell_metrics(1).end("succeeded")
    other.until_ended()
    job = other.store.any_job(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)
    assert history(other, job_id) == ["queued", "running", "succeeded"]


def test_trouble_that_was_told_before_a_takeover_is_over_with_the_next_checkpoint_but_a_request_is_not() -> None:
    database = World.database()
    world = World(database, keeps_attempts=True)
    job_id = world.submit(1, 1, 0)
    world.turn()
    world.follow()
    (attempt,) = world.cluster.open()

    def reason_after(kind: str, **data: Any) -> str | None:
        attempt.tell(kind, **data)
        world.follow()
        reason: str | None = world.store.any_job(job_id).reason
        return reason

    assert reason_after("trouble", reason="checkpoints cannot be written") == "checkpoints cannot be written"
    world.replace()
    world.follow()
    assert reason_after("checkpoint", step=1) is None
    world.request(job_id, "pause")
    assert reason_after("trouble", reason="checkpoints cannot be written") == "is being paused"
    assert reason_after("checkpoint", step=2) == "is being paused"
    database.close()


def test_an_attempt_that_was_to_give_way_does_so_though_it_has_ended_before_its_next_owner_looks_for_what_was_asked(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    other.runners.preempt(attempt.job.id, "job_high (priority 5)")
    other.cluster.left[attempt.job.id] = attempt
    expire(database)
    other.take_over()
    attempt.end("paused")
    other.until_ended()
    job = other.store.any_job(attempt.job.id)
    assert (job.state, job.attempt, job.requested) == ("paused", 1, "resume")
    assert job.reason.startswith("preempted by job_high (priority 5)")


def test_an_attempt_that_was_to_grow_is_asked_to_go_on_as_it_is_by_whoever_takes_it_over(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    """Whoever asked it to grow may have added the seats before that was forgotten."""
    attempt = plane.run()
    attempt.resizes_at_once = False
    plane.runners.resize(attempt.job.id, 2)
    assert attempt.resized() == 2
    other.cluster.left[attempt.job.id] = attempt
    expire(database)
    other.take_over()
    assert attempt.resized() == 1
    assert [(each.wanted, each.cpus) for each in other.runners.running()] == [(1, 2)]


def test_a_job_that_could_not_be_looked_for_is_not_started_twice_but_tried_again(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    class Silent(ScriptedCluster):
        def find(self, sought: Sequence[Sought]) -> Mapping[str, ScriptedJob]:
            raise ConnectionError("the cluster does not answer")

    attempt = plane.run()
    cut_off = ControlPlane(database, plane.catalog, Silent())
    expire(database)
    cut_off.take_over()
    assert history(plane, attempt.job.id) == ["queued", "running"]
    expire(database)
    other.take_over()
    assert history(plane, attempt.job.id) == ["queued", "running", "queued"]


def test_however_many_jobs_an_owner_leaves_their_attempts_are_looked_for_at_once(
    plane: ControlPlane, database: Database
) -> None:
    """As those that do not answer are waited for: once, not as often as there are jobs."""
    looks: list[int] = []

    class Silent(ScriptedCluster):
        def find(self, sought: Sequence[Sought]) -> Mapping[str, ScriptedJob]:
            looks.append(len(sought))
            return super().find(sought)

    attempts = [plane.run() for _ in range(5)]
    heir = ControlPlane(database, plane.catalog, Silent())
    heir.cluster.left[attempts[2].job.id] = attempts[2]
    expire(database)
    heir.take_over()
    assert looks == [5]
    states = [heir.store.any_job(attempt.job.id).state for attempt in attempts]
    assert states == ["queued", "queued", "running", "queued", "queued"]
    attempts[2].end("succeeded")
    heir.until_ended()


def test_a_job_that_cannot_be_refused_keeps_no_other_from_being_taken_over(
    plane: ControlPlane, database: Database
) -> None:
    first, second = plane.run().job.id, plane.run().job.id
    heir = ControlPlane(database, plane.catalog, ScriptedCluster())

    def refuse(job_id: str, _epoch: int) -> None:
        if job_id == first:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    heir.runners = Runners(heir.store, heir.cluster, heir._job_of, heir.ended.set, heir._is_over, refuse=refuse)
    heir.takeover = Takeover(heir.store, heir.runners, heir._is_over, at_once=False, clock=lambda: heir.now)
    expire(database)
    heir.take_over()
    assert [heir.store.any_job(job_id).state for job_id in (first, second)] == ["running", "queued"]


def test_a_job_of_ones_own_that_nobody_follows_any_more_is_taken_over_too(
    plane: ControlPlane, database: Database
) -> None:
    job_id = plane.store.add(new_job())[0].id
    assert plane.store.move(job_id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"), workers=1)
    expire(database)
    plane.take_over()
    assert plane.store.any_job(job_id).state == "queued"


def test_a_claim_that_was_slow_follows_no_job_that_somebody_else_has_claimed_since(
    plane: ControlPlane, other: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = plane.run()
    claim = other.store.owner.claim

    def slowly(lease: Lease) -> int | None:
        epoch = claim(lease)
        (again,) = plane.store.owner.leases()
        assert plane.store.owner.claim(again) is not None
        return epoch

    monkeypatch.setattr(other.store.owner, "claim", slowly)
    expire(other.store._database)
    other.take_over()
    assert other.runners.now() == []
    assert history(other, attempt.job.id) == ["queued", "running"]


def test_a_growth_that_has_not_come_about_is_forgotten_by_whoever_takes_the_job_over(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    for cpus, wanted in ((4, 1), (0, 0)):  # what was to be given up is
        plane.store.queue.resize(attempt.job.id, cpus)
        (lease,) = other.store.owner.leases()
        assert other.store.owner.claim(lease) is not None
        assert other.store.any_job(attempt.job.id).cpus_wanted == wanted


def test_what_a_job_needs_at_least_is_no_growth_where_it_has_just_lost_a_worker(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    for needs, wanted, after in ((3, 4, 3), (3, 2, 2)):  # the latter was told to go on with what it has
        with database.writing() as connection:
            connection.execute(sa.update(jobs).values(workers=2, cpus_min=needs, cpus_wanted=wanted))
        (lease,) = other.store.owner.leases()
        assert other.store.owner.claim(lease) is not None
        assert other.store.any_job(attempt.job.id).cpus_wanted == after
