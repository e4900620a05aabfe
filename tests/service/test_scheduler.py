"""What the scheduler has done as time passes, with a clock that the test moves."""

import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from service.database import jobs
from service.queue import AT_MOST_TENANTS, LOOK_AHEAD
from service.quota import Quota
from service.runner import RESIZES_WITHIN_S
from service.scheduler import GROWS_AFTER_S, LATE_AT_ONCE, TICK_S, Outlook, Scheduler, Share
from support.jobs import TENANT
from support.service_in_process import WITHIN_S
from support.world import TENANTS, SimulatedJob, World
from workers.failures import LONGEST_BACK_OFF_S, PLACE_AGAIN_AFTER_S, loss_by
from workers.job import AttemptLost

DAY_S = 86_400.0


@pytest.fixture
def world() -> Iterator[World]:
    database = World.database()
    yield World(database, cpus=4)
    database.close()


def started(world: World, cpus_min: int, cpus_max: int, priority: int = 0) -> SimulatedJob:
    """The attempt at a job that is submitted, and has CPUs."""
    job_id = world.submit(cpus_min, cpus_max, priority)
    world.turn()
    world.follow()
    return next(attempt for attempt in world.cluster.open() if attempt.job.id == job_id)


def states(world: World) -> list[str]:
    return [world.store.any_job(job_id).state for job_id in world.jobs]


def test_a_job_grows_once_cpus_have_been_free_for_a_while(world: World) -> None:
    other, growing = started(world, 3, 3), started(world, 1, 4)
    other.finish("succeeded")
    world.turn()
    world.clock += GROWS_AFTER_S - 0.1
    world.scheduler.step()
    assert growing.cpus == 1
    world.clock += 0.1
    world.scheduler.step()
    world.follow()
    assert growing.resized() == 4
    world.settle()
    assert world.store.any_job(growing.job.id).workers == 4


def test_a_growth_that_does_not_come_about_is_taken_back_after_a_while(world: World) -> None:
    growing = started(world, 1, 4)
    growing.lose_worker()
    world.follow()
    world.clock += RESIZES_WITHIN_S
    world.scheduler.step()
    world.follow()
    assert growing.resizes.empty()
    world.clock += 0.1
    world.scheduler.step()
    world.follow()
    assert growing.resized() == 3


def test_a_growth_is_taken_back_though_workers_come_and_go_meanwhile(world: World) -> None:
    growing = started(world, 1, 4)
    for workers in (2, 3, 2, 3):
        growing.compute_on(workers)
        world.follow()
        world.clock += RESIZES_WITHIN_S / 3
    world.scheduler.step()
    world.follow()
    assert growing.resized() == 3


def test_jobs_that_a_quota_keeps_for_ever_are_told_so_and_hide_no_later_one(world: World) -> None:
    world.quotas = {TENANT: Quota(cpus=2)}
    for _ in range(LOOK_AHEAD + 1):
        world.submit(3, 4, 0)
    later = world.submit(1, 1, 0)
    world.turn()
    assert world.store.any_job(later).state == "running"
    assert world.store.any_job(world.jobs[0]).reason == "needs 3 CPUs at once; its tenant's quota is 2"
    assert world.store.any_job(later).number > LOOK_AHEAD


def lost_twice(world: World) -> str:
    """A job, with an attempt that was lost and another that was made at once."""
    started(world, 1, 1).lose("a worker died")
    world.turn()
    world.follow()
    (attempt,) = world.cluster.open()
    attempt.lose("a worker died")
    world.follow()
    return attempt.job.id


def test_a_lost_job_is_tried_again_at_once_and_then_when_its_time_has_come(world: World) -> None:
    job_id = lost_twice(world)
    assert world.scheduler.step() == 1.0
    assert world.store.any_job(job_id).reason == "a worker died; tried again in 1 s from the newest checkpoint"
    world.start()  # the service starts anew, and knows
    assert world.scheduler.step() == 1.0
    world.clock += 1.0
    assert world.scheduler.step() == TICK_S
    assert states(world) == ["running"]
    assert world.store.any_job(job_id).attempt == 3


def test_an_internal_error_is_tried_again_once_after_other_losses_too_and_a_checkpoint_forgives_it(
    world: World,
) -> None:
    error = loss_by(TypeError())

    def next_after(attempt: SimulatedJob, loss: AttemptLost) -> SimulatedJob:
        attempt.lose(loss)
        world.turn()
        world.clock += LONGEST_BACK_OFF_S
        world.turn()
        world.follow()
        return world.cluster.open()[0]

    second = next_after(started(world, 1, 1), AttemptLost("a node died"))
    third = next_after(second, error)
    third.tell("checkpoint", step=1)
    world.follow()
    fourth = next_after(third, error)
    fourth.lose(error)
    world.turn()
    assert states(world) == ["failed"]
    assert world.store.any_job(world.jobs[0]).error == {"type": "InternalError", "detail": str(error)}


def test_a_clock_that_is_set_back_keeps_no_job_from_being_tried_again(world: World) -> None:
    lost_twice(world)
    assert states(world) == ["queued"]
    world.wall_offset_s -= DAY_S
    world.scheduler.step()
    assert states(world) == ["running"]


def test_a_job_whose_attempt_ends_while_the_scheduler_looks_keeps_its_place_before_newer_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = started(world, 4, 4)
    newer = world.submit(4, 4, 0)
    head = world.store.queue.head

    def head_before_the_end(*args: Any, **options: Any) -> Any:
        rows = head(*args, **options)
        older.lose("a worker died")
        world.follow()
        return rows

    monkeypatch.setattr(world.store.queue, "head", head_before_the_end)
    world.scheduler.step()
    assert [world.store.any_job(job_id).state for job_id in (older.job.id, newer)] == ["running", "queued"]


def test_a_job_that_found_no_place_is_tried_again_after_a_while_and_others_pass_it(world: World) -> None:
    world.cluster.crowded = True
    world.submit(4, 4, 0)
    world.turn()
    world.follow()
    world.cluster.crowded = False
    world.submit(1, 1, 0)
    world.turn()
    assert states(world) == ["queued", "running"]
    assert world.store.any_job(world.jobs[0]).losses == 0
    world.follow()
    for attempt in world.cluster.open():
        attempt.finish("succeeded")
    world.clock += PLACE_AGAIN_AFTER_S
    world.turn()
    assert states(world) == ["running", "succeeded"]


def test_room_is_made_once_and_goes_to_the_job_that_it_was_made_for(world: World) -> None:
    low, newer = started(world, 1, 2), started(world, 2, 2)
    high = world.submit(3, 3, 5)
    for _ in range(3):
        world.turn()
    assert (low.resized(), low.resizes.empty(), newer.asked(), newer.requests.empty()) == (1, True, "pause", True)
    newer.finish("paused")
    world.turn()
    assert world.store.any_job(high).state == "queued"
    low.compute_on(1)
    world.turn()
    assert world.store.any_job(high).state == "running"
    assert world.store.any_job(newer.job.id).reason.startswith(f"preempted by {high} (priority 5)")


def test_a_preempted_job_tells_its_tenant_nothing_of_another_tenants_job(world: World) -> None:
    low = started(world, 3, 3)
    high, later = world.submit(4, 4, 5, tenant="blue"), world.submit(1, 1, 0)
    world.turn()
    low.heed()
    world.follow()
    world.turn()
    job = world.store.any_job(low.job.id)
    assert job.reason == "preempted by a job of higher priority; resumes by itself when 3 CPUs are free"
    told = [world.store.events_after(TENANT, job.id, 0, 100)[0], world.store.log_after(TENANT, job.id, 0, 100)[0]]
    of_tenant = f"{told} {job.reason} {job.preempted_by} {world.store.any_job(later).reason}"
    assert "a job of higher priority" in of_tenant
    assert (high in of_tenant, "priority 5" in of_tenant) == (False, False)


# ---------------------------------------------------------------- several control planes
@pytest.fixture
def shared() -> Iterator[World]:
    """Two control planes on one cluster; `started` has each of them in turn start a job, and then follow it."""
    database = World.database()
    yield World(database, cpus=2, planes=2)
    database.close()


def followers(world: World) -> list[int]:
    """How many attempts each control plane follows."""
    return [len(plane.runners.now()) for plane in world.planes]


def test_jobs_of_several_control_planes_give_way_together_to_one_that_needs_more_than_either_has(shared: World) -> None:
    lows = [started(shared, 1, 1), started(shared, 1, 1)]
    assert followers(shared) == [1, 1]
    high = shared.submit(2, 2, 5)
    shared.turn()
    shared.follow()
    assert [low.requests.qsize() for low in lows] == [1, 1]
    assert states(shared) == ["running", "running", "queued"]
    shared.settle()
    assert states(shared) == ["paused", "paused", "running"]
    for low in lows:
        assert shared.store.any_job(low.job.id).reason.startswith(f"preempted by {high} (priority 5)")
    (attempt,) = shared.cluster.open()
    attempt.finish("succeeded")
    shared.settle()
    assert states(shared) == ["running", "running", "succeeded"], "those that gave way resume by themselves"


def test_where_one_victim_is_enough_only_one_control_plane_preempts(shared: World) -> None:
    lows = [started(shared, 1, 1), started(shared, 1, 1)]
    shared.submit(1, 1, 5)
    for _ in range(3):
        shared.turn()
    assert [low.requests.qsize() for low in lows] == [0, 1], "the newest"
    shared.settle()
    assert states(shared) == ["running", "paused", "running"]


def test_a_job_shrinks_for_one_that_another_control_plane_is_to_start(shared: World) -> None:
    low = started(shared, 1, 2)
    shared.submit(1, 1, 5)
    shared.planes[0].scheduler.step()
    assert followers(shared) == [0, 1]
    shared.follow()
    assert low.resizes.empty()
    shared.beat()
    shared.follow()
    assert low.resized() == 1
    shared.settle()
    assert states(shared) == ["running", "running"]


def test_a_job_grows_by_whichever_control_plane_sees_that_cpus_are_idle(shared: World) -> None:
    other, growing = started(shared, 1, 1), started(shared, 1, 2)
    other.finish("succeeded")
    shared.turn()
    (elsewhere,) = (plane for plane in shared.planes if not plane.runners.now())
    for _ in range(2):
        shared.clock += GROWS_AFTER_S
        elsewhere.scheduler.step()
    shared.follow()
    assert growing.resizes.empty()
    shared.beat()
    shared.follow()
    assert growing.resized() == 2


def test_cpus_that_a_job_holds_and_does_not_compute_on_are_not_free_elsewhere(shared: World) -> None:
    started(shared, 2, 2).lose_worker()
    shared.follow()
    assert shared.store.any_job(shared.jobs[0]).workers == 1
    waiting = shared.submit(1, 1, 0)
    for _ in range(2):
        shared.turn()
    assert states(shared) == ["running", "queued"]
    assert "0 of 2 are free" in shared.store.any_job(waiting).reason


def test_a_user_who_pauses_what_is_to_give_way_has_it_stay_paused(shared: World) -> None:
    low = started(shared, 2, 2)
    shared.submit(1, 1, 5)
    shared.turn()
    shared.request(low.job.id, "pause")
    shared.settle()
    shared.cluster.open()[0].finish("succeeded")
    shared.settle()
    assert shared.store.any_job(low.job.id).reason == "paused by request"
    assert states(shared) == ["paused", "succeeded"]


# ---------------------------------------------------------------- a deadline for waiting
def test_a_job_that_has_not_started_in_time_fails_and_says_so(world: World) -> None:
    started(world, 4, 4)
    late, patient = world.submit(1, 1, 0, max_wait_s=60), world.submit(1, 1, 0)
    world.clock += 59.9
    world.scheduler.step()
    assert states(world) == ["running", "queued", "queued"]
    world.start()  # the service starts anew, and knows
    world.clock += 0.2
    world.scheduler.step()
    job = world.store.any_job(late)
    assert (job.state, job.reason) == ("failed", "waited longer than max_wait_s = 60 s")
    assert job.error == {"type": "WaitedTooLong", "detail": job.reason}
    assert job.finished_at == world.wall_clock()
    assert world.store.any_job(patient).state == "queued"
    world.check()


def test_a_job_waits_no_longer_for_a_clock_that_was_set_while_nobody_waited(world: World) -> None:
    started(world, 4, 4)
    world.scheduler.step()
    world.wall_offset_s += DAY_S
    world.scheduler.step()
    late = world.submit(1, 1, 0, max_wait_s=60)
    world.clock += 59.9
    world.scheduler.step()
    assert world.store.any_job(late).state == "queued"
    world.clock += 0.2
    world.scheduler.step()
    assert world.store.any_job(late).state == "failed"


def test_a_deadline_is_kept_also_while_the_cluster_is_away(world: World) -> None:
    world.cluster.is_away = True
    late = world.submit(1, 1, 0, max_wait_s=1)
    world.clock += 1.1
    world.scheduler.step()
    assert world.store.any_job(late).state == "failed"


def test_a_job_that_has_started_once_may_wait_again_as_long_as_need_be(world: World) -> None:
    job_id = world.submit(1, 1, 0, max_wait_s=5)
    world.turn()
    world.follow()
    (attempt,) = world.cluster.open()
    attempt.lose("a worker died")
    world.follow()
    world.cluster.resize(0)
    world.clock += 3_600.0
    world.scheduler.step()
    assert (world.store.any_job(job_id).state, world.store.any_job(job_id).attempt) == ("queued", 2)


def test_of_thousands_that_are_late_all_fail_and_none_is_late_for_long(world: World) -> None:
    world.cluster.resize(0)
    for _ in range(LATE_AT_ONCE + 1):
        world.submit(1, 1, 0, max_wait_s=1)
    world.clock += 1.1
    assert world.scheduler.step() == 0.0
    world.scheduler.step()
    assert set(states(world)) == {"failed"}


# ---------------------------------------------------------------- tenants
@pytest.mark.parametrize("passes_s", [1.0, -DAY_S])
def test_tenants_take_turns_where_one_job_fills_the_cluster(world: World, passes_s: float) -> None:
    """Also where the service's clock is set back."""
    world.cluster.resize(1)
    for _ in range(4):
        world.submit(1, 1, 0)
    world.turn()
    world.follow()
    for _ in range(2):
        world.submit(1, 1, 0, "blue")
    order = []
    while attempts := world.cluster.open():
        order.append(world.tenant_of(attempts[0].job.id))
        world.wall_offset_s += passes_s
        attempts[0].finish("succeeded")
        world.turn()
        world.follow()
    assert order == ["default", "blue", "default", "blue", "default", "default"]


@pytest.mark.parametrize("quota", [Quota(running_jobs=0), Quota(cpus=0), Quota(cpus=2)], ids=str)
def test_however_many_tenants_can_have_nothing_others_have_their_turn(world: World, quota: Quota) -> None:
    row = {**world.store.any_job(world.submit(3, 3, 0, "blue"))._asdict()}
    del row["number"], row["waits"], row["plan"]
    idle = [f"tenant-{number:03}" for number in range(2 * AT_MOST_TENANTS)]
    with world.connected_to.writing() as connection:
        connection.execute(sa.insert(jobs), [{**row, "id": f"job_of_{name}", "tenant": name} for name in idle])
    world.quotas.update(dict.fromkeys(idle, quota))
    mine = world.submit(1, 1, 0, "green")
    for _ in range(2):
        world.scheduler.step()
    assert world.store.any_job(mine).state == "running"
    with world.connected_to.reading() as connection:
        reason: str = connection.execute(sa.select(jobs.c.reason).where(jobs.c.id == "job_of_tenant-000")).scalar_one()
    assert "quota" in reason


def test_a_large_job_is_not_starved_by_the_small_ones_of_another_tenant(world: World) -> None:
    for _ in range(20):
        world.submit(1, 1, 0)
    world.turn()
    world.follow()
    large, ended = world.submit(4, 4, 0, "blue"), 0
    while world.store.any_job(large).state == "queued":
        world.cluster.open()[0].finish("succeeded")
        ended += 1
        world.clock += 1.0
        world.turn()
        world.follow()
    assert ended == 4, "those that ran when it came, and none besides"


def test_passes_take_their_share_of_the_time_and_none_waits_after_a_quiet_while() -> None:
    share, now, worked = Share(0.1, burst_s=0.2), 100.0, 0.0
    while now < 110.0:
        rest_s = share.rest_s(now, now + 0.03)
        worked += 0.03
        now += 0.03 + rest_s
    assert worked == pytest.approx(0.1 * 10 + 0.2, abs=0.05)
    assert share.rest_s(now + 60.0, now + 60.03) == 0.0
    assert share.rest_s(now + 61.0, now + 91.0) == pytest.approx(2.0)


# ---------------------------------------------------------------- jobs that come
def test_a_job_that_is_told_to_wait_for_others_could_have_had_nothing_and_made_nobody_give_way(world: World) -> None:
    chance, waited = random.Random(7), 0

    def all_there_is() -> Sequence[Any]:
        query = sa.select(jobs.c.id, jobs.c.state, jobs.c.preempted_by, jobs.c.cpus_wanted).order_by(jobs.c.number)
        with world.connected_to.reading() as connection:
            return connection.execute(query).all()

    for _ in range(150):
        world.quotas = {name: Quota(running_jobs=chance.choice([None, 0, 1, 2])) for name in TENANTS}
        if chance.random() < 0.4 and (attempts := world.cluster.open()):
            chance.choice(attempts).finish("succeeded")
        if chance.random() < 0.7:  # else those that wait already would be before a new one
            for job_id in [each.id for each in all_there_is() if each.state == "queued"]:
                world.request(job_id, "cancel")
        least = chance.randint(1, 2)
        world.submit(least, least + chance.randint(0, 2), chance.randint(0, 2), chance.choice(TENANTS))
        world.clock += chance.choice([0.0, 4.0])
        world.settle()
        tenant, priority = chance.choice(TENANTS), chance.randint(0, 2)
        if not world.scheduler._outlook.has_nothing_for(tenant, priority):
            continue
        before = all_there_is()
        new = world.submit(1, 1, priority, tenant)
        world.scheduler.step()
        *others, found = all_there_is()
        assert (others, found.id, found.state) == (before, new, "queued")
        waited += 1
    assert waited > 30


@pytest.mark.parametrize(
    ("outlook", "expected"),
    [
        (Outlook(1, 0, ()), False),
        (Outlook(0, 0, ()), True),
        (Outlook(0, -1, ()), False),
        (Outlook(0, math.inf, ()), True),
        (Outlook(3, 0, {TENANT}), True),
        (Outlook(3, 0, {"blue"}), False),
    ],
)
def test_nothing_is_there_for_a_job_without_a_free_cpu_or_lower_ones_or_beyond_its_quota(
    outlook: Outlook, expected: bool
) -> None:
    assert outlook.has_nothing_for(TENANT, 0) == expected


@contextmanager
def started_with_nothing_free(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, together_s: float, during: Callable[[int], object]
) -> Iterator[threading.Semaphore]:
    """Its thread, which tells of each pass and does nothing in it but `during`, given its number from 1. Nothing else
    makes it look within the test's time."""
    monkeypatch.setattr("service.scheduler.TOGETHER_S", together_s)
    monkeypatch.setattr("service.scheduler.TICK_S", 2 * WITHIN_S)
    passes, numbers = threading.Semaphore(0), itertools.count(1)

    def step() -> float:
        during(next(numbers))
        passes.release()
        return 2 * WITHIN_S

    monkeypatch.setattr(scheduler, "step", step)
    scheduler._outlook = Outlook(0, 0, ())
    scheduler.start()
    try:
        assert passes.acquire(timeout=WITHIN_S)
        yield passes
    finally:
        scheduler.stop()


def test_jobs_that_can_have_nothing_are_looked_at_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with started_with_nothing_free(world.scheduler, monkeypatch, 0.2, lambda _: None) as passes:
        began = time.monotonic()
        for _ in range(1_000):
            world.scheduler.job_came(TENANT, 0)
        assert passes.acquire(timeout=WITHIN_S)
        assert not passes.acquire(blocking=False) or time.monotonic() > began + 0.2, "one pass for all of them"


def test_a_job_that_may_have_something_is_looked_at_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with started_with_nothing_free(world.scheduler, monkeypatch, 2 * WITHIN_S, lambda _: None) as passes:
        world.scheduler.job_came(TENANT, 1)
        assert passes.acquire(timeout=WITHIN_S)


def test_so_is_one_that_came_during_a_pass_that_found_cpus(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def during(number: int) -> None:
        if number == 1:
            world.scheduler.job_came(TENANT, 0)
            world.scheduler._outlook = Outlook(1, 0, ())

    with started_with_nothing_free(world.scheduler, monkeypatch, 2 * WITHIN_S, during) as passes:
        assert passes.acquire(timeout=WITHIN_S)
