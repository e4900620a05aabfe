"""What a control plane does about the leases of its attempts."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from service.catalog import Catalog
from service.database import Database
from service.heartbeat import UNREACHABLE, Heartbeat
from service.leases import CLOSE_AFTER_S, RENEW_S
from service.owner import Owner
from service.runner import Attempt
from support.clusters import ScriptedCluster, ScriptedJob
from support.jobs import TENANT
from support.planes import ControlPlane, expire, history
from support.service_in_process import WITHIN_S
from workers.job import TrainingJob


def failing_once(ask: Callable[[Any], None]) -> Callable[[Any], None]:
    """What raises when it is first called, and then does as `ask`."""
    failures = iter([ConnectionError("the cluster does not answer")])

    def asked(what: Any) -> None:
        for failure in failures:
            raise failure
        ask(what)

    return asked


def test_an_attempt_for_which_there_can_be_no_thread_is_nobodys_once_its_lease_is_over(
    plane: ControlPlane, other: ControlPlane, database: Database
) -> None:
    def no_thread(_runner: Any) -> None:
        raise RuntimeError("can't start new thread")

    plane.runners._start = no_thread
    with pytest.raises(RuntimeError):
        plane.begin()
    assert plane.runners.now() == []
    plane.now += RENEW_S
    plane.heartbeat.beat()
    expire(database)
    other.take_over()
    assert other.store.owner.leases() == []


@pytest.mark.parametrize(
    ("verbs", "stop"), [(["pause"], "pause"), (["cancel"], "cancel"), (["pause", "resume"], "pause")]
)
def test_what_was_asked_for_elsewhere_reaches_the_attempt_once(
    plane: ControlPlane, other: ControlPlane, verbs: list[Any], stop: str
) -> None:
    attempt = plane.run()
    plane.heartbeat.beat()
    for verb in verbs:
        other.store.request(TENANT, attempt.job.id, verb)
    for _ in range(3):
        plane.heartbeat.beat()  # no renewal is due, the requests are looked at nevertheless
    assert attempt.asked() == stop
    assert attempt.requests.empty()


def test_a_job_resizes_and_gives_way_as_another_control_plane_decides(plane: ControlPlane, other: ControlPlane) -> None:
    attempt = plane.run()
    other.runners.resize(attempt.job.id, 2)
    plane.heartbeat.beat()
    assert attempt.resized() == 2
    other.runners.preempt(attempt.job.id, "job_high (priority 5)")
    for _ in range(3):
        plane.heartbeat.beat()
    assert (attempt.asked(), attempt.requests.empty(), attempt.resizes.empty()) == ("pause", True, True)
    attempt.end("paused")
    plane.until_ended()
    job = plane.store.any_job(attempt.job.id)
    assert (job.state, job.requested, job.preempted_by) == ("paused", "resume", "job_high (priority 5)")
    assert (job.cpus_wanted, job.cpus_held) == (None, None)


def test_an_attempt_that_takes_long_to_be_asked_keeps_no_lease_from_being_renewed(
    plane: ControlPlane, other: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = plane.run(), plane.run()
    asked, may_go_on = threading.Event(), threading.Event()

    def resize(_workers: int) -> None:
        asked.set()
        may_go_on.wait(WITHIN_S)

    monkeypatch.setattr(slow, "resize", resize)
    other.runners.resize(slow.job.id, 2)
    other.store.request(TENANT, quick.job.id, "pause")
    beat = threading.Thread(target=plane.heartbeat.beat)
    beat.start()
    try:
        beat.join(WITHIN_S / 2)
        assert not beat.is_alive()
        assert quick.asked() == "pause"
        assert asked.wait(WITHIN_S)
    finally:
        may_go_on.set()
        beat.join()


def test_an_attempt_that_cannot_be_asked_is_asked_again_and_costs_the_others_no_lease(
    plane: ControlPlane, other: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = plane.run(), plane.run()
    monkeypatch.setattr(first, "request", failing_once(first.request))
    monkeypatch.setattr(second, "resize", failing_once(second.resize))
    other.store.request(TENANT, first.job.id, "cancel")
    other.runners.resize(second.job.id, 2)
    plane.now += RENEW_S
    plane.heartbeat.beat()
    assert [runner.renewed_at for runner in plane.runners.now()] == [plane.now] * 2
    assert (first.asked(), second.resized()) == ("cancel", 2)
    assert (first.requests.empty(), second.resizes.empty()) == (True, True)


def test_a_request_that_cannot_be_passed_on_at_once_is_a_little_later(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = plane.run()
    monkeypatch.setattr(attempt, "request", failing_once(attempt.request))
    plane.runners.request(attempt.job.id, "pause")
    assert attempt.asked() == "pause"


def test_what_is_asked_for_while_the_heartbeat_looks_counts_more_than_what_it_saw(
    plane: ControlPlane, other: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, renew = plane.run(), plane.store.owner.renew

    def slowly(held: Any) -> Any:
        seen = renew(held)
        plane.runners.resize(attempt.job.id, 3)
        return seen

    other.runners.resize(attempt.job.id, 2)
    monkeypatch.setattr(plane.store.owner, "renew", slowly)
    for _ in range(2):
        plane.heartbeat.beat()
    assert (attempt.resized(), attempt.resizes.empty()) == (3, True)


def test_a_lease_that_ended_while_nobody_took_it_is_renewed_and_the_attempt_goes_on(
    plane: ControlPlane, database: Database
) -> None:
    attempt = plane.run()
    expire(database)
    plane.now += RENEW_S
    plane.heartbeat.beat()
    (lease,) = plane.store.owner.leases()
    assert lease.remaining_s > 0
    assert not attempt.closed.is_set()
    attempt.end("succeeded")
    plane.until_ended()
    assert plane.store.any_job(attempt.job.id).state == "succeeded"


def test_an_attempt_whose_job_was_taken_is_closed_and_its_end_is_not_taken_in(
    plane: ControlPlane, other: ControlPlane
) -> None:
    attempt = plane.run()
    (lease,) = other.store.owner.leases()
    assert other.store.owner.claim(lease) is not None
    plane.heartbeat.beat()
    assert attempt.closed.wait(WITHIN_S)
    attempt.end("succeeded")
    plane.until_ended()
    job = plane.store.any_job(attempt.job.id)
    assert (job.state, job.owner) == ("running", other.store.owner.id)


def test_a_stale_owner_that_has_not_noticed_cannot_write(plane: ControlPlane, other: ControlPlane) -> None:
    attempt = plane.run()
    (lease,) = other.store.owner.leases()
    other.store.owner.claim(lease)
    attempt.tell_metrics(1)
    plane.until_ended()
    assert attempt.closed.is_set()
    assert other.store.metrics_after(TENANT, attempt.job.id, 0, 10) == []
    assert history(other, attempt.job.id) == ["queued", "running"]


def test_a_stale_owner_leaves_the_attempt_that_the_new_one_may_follow(plane: ControlPlane, other: ControlPlane) -> None:
    plane.cluster.keeps_attempts = True
    attempt = plane.run()
    (lease,) = other.store.owner.leases()
    other.store.owner.claim(lease)
    attempt.tell_metrics(1)
    plane.until_ended()
    assert (attempt.was_left.is_set(), attempt.closed.is_set()) == (True, False)


def test_a_stale_owner_to_whom_the_attempt_is_silent_leaves_it_too(plane: ControlPlane, other: ControlPlane) -> None:
    """It was alone, and cut off from database and cluster while another one started and took the job over."""
    plane.cluster.keeps_attempts = True
    attempt = plane.run()
    (lease,) = other.store.owner.leases()
    other.store.owner.claim(lease)
    attempt.lose("the job's coordinator has not answered for 10 s")
    plane.until_ended()
    assert (attempt.was_left.is_set(), attempt.closed.is_set()) == (True, False)
    assert history(other, attempt.job.id) == ["queued", "running"]


@pytest.mark.parametrize("keeps_attempts", [False, True])
def test_an_error_that_nobody_foresaw_costs_a_lease_and_not_the_job(
    plane: ControlPlane, other: ControlPlane, monkeypatch: pytest.MonkeyPatch, keeps_attempts: bool
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise sa.exc.InternalError("a statement", None, Exception("nobody knows this one"))

    plane.cluster.keeps_attempts = keeps_attempts
    attempt = plane.run()
    for use in ("record", "move"):
        monkeypatch.setattr(plane.store, use, fail)
    for use in ("renew", "give_back"):
        monkeypatch.setattr(plane.store.owner, use, fail)
    attempt.tell_metrics(1)
    plane.until_ended()
    assert plane.runners.now() == []
    assert (attempt.was_left.is_set(), attempt.closed.is_set()) == (keeps_attempts, not keeps_attempts)
    if keeps_attempts:
        other.cluster.left[attempt.job.id] = attempt
    expire(other.store._database)
    other.take_over()
    assert [runner.attempt.number for runner in other.runners.now()] == [1] * keeps_attempts
    assert history(other, attempt.job.id) == ["queued", "running", *["queued"] * (not keeps_attempts)]


def test_a_step_that_fails_in_whatever_way_ends_the_runner(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    attempt = plane.run()
    (runner,) = plane.runners.now()
    monkeypatch.setattr(runner, "_end_by", fail)
    attempt.lose("a worker died")
    plane.until_ended()
    assert (plane.runners.now(), attempt.closed.is_set()) == ([], True)


def test_a_job_pauses_and_says_why_where_there_is_no_room_for_its_folder(database: Database, catalog: Catalog) -> None:
    class Full(ControlPlane):
        def _job_of(self, attempt: Attempt) -> TrainingJob:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plane = Full(database, catalog, ScriptedCluster())
    job_id = plane.begin()
    plane.until_ended()
    job = plane.store.any_job(job_id)
    why = "its folder cannot be made: No space left on device; resume it when there is room"
    assert (job.state, job.reason, job.losses) == ("paused", why, 0)


class SlowCluster(ScriptedCluster):
    """Launching takes as long as the test says."""

    keeps_attempts = True

    def __init__(self) -> None:
        super().__init__()
        self.may_start = threading.Event()

    def launch(self, job: TrainingJob) -> ScriptedJob:
        launched = super().launch(job)
        assert self.may_start.wait(WITHIN_S)
        return launched


def until_closed(job_id: str) -> None:
    """Waits until the threads that close its attempts have done so."""
    for thread in threading.enumerate():
        if thread.name == f"closing-{job_id}":
            thread.join(WITHIN_S)


def test_an_attempt_that_starts_when_its_owner_has_been_given_up_is_closed(
    database: Database, catalog: Catalog
) -> None:
    """Whoever took the job over looked for the attempt before it was there, and starts another one."""
    cluster = SlowCluster()
    plane = ControlPlane(database, catalog, cluster)
    attempt = plane.run()
    (runner,) = plane.runners.now()
    runner.abandon(UNREACHABLE)
    until_closed(attempt.job.id)
    assert plane.refused == [(attempt.job.id, runner.attempt.epoch)]
    cluster.may_start.set()
    plane.until_ended()
    assert attempt.closed.is_set()


def left_while_launching(plane: ControlPlane, cluster: SlowCluster) -> tuple[ScriptedJob, int]:
    """An attempt, and its epoch, whose service stops before it has started."""
    attempt = plane.run()
    (runner,) = plane.runners.now()
    runner.leave()
    until_closed(attempt.job.id)
    cluster.may_start.set()
    plane.until_ended()
    return attempt, runner.attempt.epoch


def test_an_attempt_that_is_being_launched_when_its_service_stops_is_left_to_the_next_start(
    database: Database, catalog: Catalog, other: ControlPlane
) -> None:
    cluster = SlowCluster()
    plane = ControlPlane(database, catalog, cluster)
    attempt, _ = left_while_launching(plane, cluster)
    assert (plane.refused, attempt.was_left.is_set(), attempt.closed.is_set()) == ([], True, False)
    other.cluster.left[attempt.job.id] = attempt
    other.take_over()
    assert [runner.attempt.number for runner in other.runners.now()] == [1]
    assert history(other, attempt.job.id) == ["queued", "running"]


@pytest.mark.parametrize("keeps_attempts", [False, True])
def test_a_launch_that_fails_when_its_service_stops_leaves_nothing_that_may_work(
    database: Database, catalog: Catalog, keeps_attempts: bool
) -> None:
    class Failing(SlowCluster):
        def launch(self, job: TrainingJob) -> ScriptedJob:
            super().launch(job)
            raise ConnectionError("the cluster does not answer")

    cluster = Failing()
    cluster.keeps_attempts = keeps_attempts
    plane = ControlPlane(database, catalog, cluster)
    attempt, epoch = left_while_launching(plane, cluster)
    assert set(plane.refused) == {(attempt.job.id, epoch)}
    assert history(plane, attempt.job.id) == ["queued", "running", "queued"]


@pytest.mark.parametrize("outcome", ["succeeded", "paused"])
def test_an_end_that_was_taken_in_is_written_though_the_lease_could_not_be_renewed_after_the_attempt_was_closed(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    plane.cluster.keeps_attempts = True
    attempt = plane.run()
    (runner,) = plane.runners.now()

    def close() -> None:
        attempt.closed.set()
        runner.abandon(UNREACHABLE)

    monkeypatch.setattr(attempt, "close", close)
    attempt.end(outcome, reason="as it is")
    plane.until_ended()
    job = plane.store.any_job(attempt.job.id)
    assert (job.state, job.attempt, job.reason) == (outcome, 1, "as it is" if outcome == "paused" else None)


def test_an_end_that_its_owner_read_and_had_no_time_to_write_is_read_by_the_next_one(
    plane: ControlPlane, other: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.cluster.keeps_attempts = True
    attempt = plane.run()
    (runner,) = plane.runners.now()
    record = plane.store.record

    def slowly(*job: Any, **values: Any) -> bool:
        taken_in = record(*job, **values)
        runner.abandon(UNREACHABLE)
        return taken_in

    monkeypatch.setattr(plane.store, "record", slowly)
    other.cluster.left[attempt.job.id] = attempt
    attempt.end("succeeded")
    plane.until_ended()
    assert (attempt.was_left.is_set(), attempt.closed.is_set()) == (True, False)
    other.take_over()
    other.until_ended()
    job = other.store.any_job(attempt.job.id)
    assert (job.state, job.attempt) == ("succeeded", 1)


def test_attempts_are_closed_when_their_leases_are_about_to_end_and_queued_once_that_can_be_written(
    plane: ControlPlane, other: ControlPlane
) -> None:
    attempt = plane.run()
    other.heartbeat.beat()
    plane.heartbeat.beat()
    plane.now += CLOSE_AFTER_S - 0.1
    plane.heartbeat.guard()
    assert not attempt.closed.is_set()
    plane.now += 0.1
    plane.heartbeat.guard()
    assert attempt.closed.wait(WITHIN_S)
    plane.until_ended()
    job = plane.store.any_job(attempt.job.id)
    assert (job.state, job.attempt, job.reason, job.losses) == ("queued", 2, UNREACHABLE, 0)


def test_a_control_plane_that_is_alone_goes_on_however_long_the_database_is_away(plane: ControlPlane) -> None:
    attempt = plane.run()
    plane.heartbeat.beat()
    plane.now += 100 * CLOSE_AFTER_S
    plane.heartbeat.guard()
    assert not attempt.closed.wait(0.05)


def test_a_control_plane_that_can_have_no_fellow_goes_on_whatever_the_database_tells_of_others(
    plane: ControlPlane, other: ControlPlane
) -> None:
    """The other one is itself, killed a moment ago; or its clock was set back."""
    heartbeat = Heartbeat(plane.store.owner, plane.runners, lambda: plane.now, shared=False)
    attempt = plane.run()
    other.heartbeat.beat()
    heartbeat.beat()
    plane.now += 100 * CLOSE_AFTER_S
    heartbeat.guard()
    assert not attempt.closed.wait(0.05)


def test_a_silent_database_is_told_even_while_it_is_waited_for(plane: ControlPlane) -> None:
    plane.heartbeat.beat()
    assert plane.heartbeat.problem() is None
    plane.now += 60
    assert plane.heartbeat.problem() == "has not answered for 60 s"


def test_cpus_of_jobs_that_run_elsewhere_are_in_use(plane: ControlPlane, other: ControlPlane) -> None:
    plane.run()
    assert (plane.runners.cpus_in_use(), other.runners.cpus_in_use()) == (1, 1)
    other.run()
    assert (plane.runners.cpus_in_use(), other.runners.cpus_in_use()) == (2, 2)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_do_not_give_out_cpus_at_once(database: Database) -> None:
    one, two = Owner(database), Owner(database)
    entered = threading.Event()

    def enter() -> None:
        with two.scheduling():
            entered.set()

    waiting = threading.Thread(target=enter)
    with one.scheduling():
        waiting.start()
        assert not entered.wait(0.2)
    waiting.join(WITHIN_S)
    assert entered.is_set()
