"""When a lease is over, and that of those who race for a job one wins."""

from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from service.database import Database, control_planes, jobs
from service.jobs import JobState, Move, after_end
from service.leases import CLOSE_AFTER_S, LEASE_S, WATCH_S, Lease, must_close, watch
from service.owner import Asked, Owner
from service.store import Store, Told
from shared.errors import Conflict
from support.jobs import TENANT, new_job, with_a_dataset
from support.races import LONG, race

DAY_S = 86_400.0
CLAIMS = 1_000_000 if LONG else 500
INTERLEAVINGS = 10_000 if LONG else 200


def lease(remaining_s: float, *, epoch: int = 1, lease_until: float = 100.0) -> Lease:
    return Lease("job", 1, 2, epoch, lease_until, remaining_s)


# ---------------------------------------------------------------- decisions
def test_a_lease_is_over_when_the_database_says_so_and_nobody_renewed_it_meanwhile() -> None:
    watched, over = watch({}, [lease(-1.0)], now=0.0)
    assert over == []
    watched, over = watch(watched, [lease(-3.0)], now=WATCH_S - 0.1)
    assert over == []
    _, over = watch(watched, [lease(-8.0)], now=WATCH_S)
    assert over == [lease(-8.0)]


def test_a_lease_that_has_time_left_is_not_over_however_long_it_was_watched() -> None:
    watched, _ = watch({}, [lease(LEASE_S)], now=0.0)
    assert watch(watched, [lease(0.1)], now=1000.0)[1] == []


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_a_day_ends_no_lease_that_is_being_renewed(jump_s: float) -> None:
    watched, until = {}, 100.0
    for look in range(20):  # every 2 s; the owner renews every 3 s by the clock that has jumped at the tenth look
        database_now = 2.0 * look + (jump_s if look >= 10 else 0)
        if look != 10:
            until = database_now - (2 * look) % 3 + LEASE_S
        watched, over = watch(watched, [lease(until - database_now, lease_until=until)], now=2.0 * look)
        assert over == []


def test_a_lease_that_a_clock_gone_back_made_endless_is_over_once_nobody_renews_it() -> None:
    watched, _ = watch({}, [lease(86_400.0)], now=0.0)
    assert watch(watched, [lease(86_393.0)], now=WATCH_S)[1] == [lease(86_393.0)]


@pytest.mark.parametrize("changed", [{"epoch": 2}, {"lease_until": 101.0}])
def test_a_lease_that_was_renewed_or_taken_is_watched_anew(changed: dict[str, Any]) -> None:
    watched, _ = watch({}, [lease(-1.0)], now=0.0)
    watched, over = watch(watched, [lease(-1.0, **changed)], now=WATCH_S)
    assert over == []
    assert watch(watched, [lease(-1.0, **changed)], now=2 * WATCH_S)[1] == [lease(-1.0, **changed)]


def test_an_attempt_is_closed_before_its_lease_ends_unless_nobody_else_is_there() -> None:
    assert not must_close(CLOSE_AFTER_S - 0.1, alone=False)
    assert must_close(CLOSE_AFTER_S, alone=False)
    assert not must_close(10 * LEASE_S, alone=True)
    assert CLOSE_AFTER_S <= LEASE_S - 3


# ---------------------------------------------------------------- leases in the database
@pytest.fixture
def store(database: Database, tmp_path: Any) -> Store:
    with_a_dataset(database, tmp_path)
    return Store(database)


def queued(store: Store) -> str:
    return str(store.add(new_job())[0].id)


def started(store: Store, job_id: str, epoch: int = 0) -> int:
    """Starts a queued job; returns its epoch."""
    job = store.move(job_id, epoch, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"), workers=1)
    assert job is not None
    return int(job.epoch)


def test_a_job_that_starts_has_an_owner_and_a_lease_by_the_databases_clock(store: Store) -> None:
    job_id = queued(store)
    assert store.owner.leases() == []
    epoch = started(store, job_id)
    (held,) = store.owner.leases()
    assert (held.job_id, held.attempt, held.workers, held.epoch) == (job_id, 1, 1, epoch)
    assert LEASE_S - 5 < held.remaining_s <= LEASE_S
    assert store.any_job(job_id).owner == store.owner.id
    store.move(job_id, epoch, JobState.RUNNING, lambda _: Move(JobState.QUEUED, "lost"))
    assert (store.owner.leases(), store.any_job(job_id).owner) == ([], None)


def test_a_renewal_renews_what_is_still_held_and_brings_what_was_asked_for(store: Store, database: Database) -> None:
    kept, moved = queued(store), queued(store)
    held = {(job_id, started(store, job_id)) for job_id in (kept, moved)}
    expire(database)
    store.request(TENANT, kept, "pause")
    store.move(moved, 1, JobState.RUNNING, lambda _: Move(JobState.QUEUED, "lost"))
    asked = {(kept, 1): Asked("pause", preempted_by=None, cpus_wanted=1)}
    assert store.owner.asked(held) == asked
    assert store.owner.renew(held) == (asked, True)
    (lease,) = store.owner.leases()
    assert lease.remaining_s > LEASE_S - 5


def test_a_control_plane_knows_whether_it_is_alone(store: Store, database: Database) -> None:
    other = Owner(database)
    assert store.owner.renew([]) == ({}, True)
    assert other.renew([]) == ({}, False)
    assert store.owner.renew([]) == ({}, False)
    other.leave()
    assert store.owner.renew([]) == ({}, True)


def test_a_control_plane_that_died_before_the_clock_was_set_back_is_no_fellow(store: Store, database: Database) -> None:
    dead = Owner(database)
    dead.renew([])
    with database.writing() as connection:
        connection.execute(sa.update(control_planes).values(lease_until=control_planes.c.lease_until + DAY_S))
    assert store.owner.renew([]) == ({}, True)


def test_a_new_owner_fences_the_one_before(store: Store, database: Database) -> None:
    job_id = queued(store)
    old = started(store, job_id)
    (lease,) = store.owner.leases()
    successor = Store(database)
    new = successor.owner.claim(lease)
    assert new == old + 1
    assert successor.owner.claim(lease) is None
    assert not store.record(job_id, old, [Told("progress", {})], progress={"fraction": 1.0})
    assert store.move(job_id, old, JobState.RUNNING, lambda _: Move(JobState.SUCCEEDED, "late")) is None
    assert store.owner.renew([(job_id, old)])[0] == {}
    assert successor.record(job_id, new, [Told("progress", {})])
    assert [row.seq for row in store.events_after(TENANT, job_id, 0, 10)[0]] == [1, 2, 3]
    assert (store.any_job(job_id).owner, store.any_job(job_id).attempt) == (successor.owner.id, 1)


def test_a_lease_that_was_renewed_after_it_was_looked_at_is_not_taken(store: Store, database: Database) -> None:
    job_id = queued(store)
    epoch = started(store, job_id)
    expire(database)
    (seen,) = store.owner.leases()
    assert seen.remaining_s < 0
    store.owner.renew([(job_id, epoch)])
    assert Owner(database).claim(seen) is None


def expire(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.update(jobs).values(lease_until=1.0))


# ---------------------------------------------------------------- races
@pytest.mark.timeout(4 * 3600 if LONG else 240)
def test_of_control_planes_that_race_for_a_job_one_gets_it(store: Store, database: Database) -> None:
    job_id = queued(store)
    first = started(store, job_id)
    now = sa.literal(1000.0)  # so that all know what a lease is that somebody has just been given
    owners = [Owner(database, now), Owner(database, now)]
    with database.writing() as connection:
        connection.execute(sa.update(jobs).values(lease_until=now + LEASE_S))

    def claim(owner: Owner, turn: int) -> int | None:
        return owner.claim(Lease(job_id, 1, 1, first + turn, 1000.0 + LEASE_S, 0.0))

    outcomes = race(CLAIMS, *[lambda turn, owner=owner: claim(owner, turn) for owner in owners])  # type: ignore[misc]
    assert [sorted(filter(None, each)) for each in outcomes] == [[first + turn + 1] for turn in range(CLAIMS)]
    assert store.any_job(job_id).epoch == first + CLAIMS


@pytest.mark.timeout(3600 if LONG else 240)
def test_a_cancel_that_races_with_the_end_wins_or_is_told_never_both(store: Store) -> None:
    ids = [queued(store) for _ in range(INTERLEAVINGS)]
    epochs = [started(store, job_id) for job_id in ids]

    def end(turn: int) -> Any:
        return store.move(ids[turn], epochs[turn], JobState.RUNNING, partial(after_end, "succeeded", data={}))

    def cancel(turn: int) -> Any:
        try:
            return store.request(TENANT, ids[turn], "cancel")
        except Conflict as error:
            return error

    for job_id, (ended, answer) in zip(ids, race(INTERLEAVINGS, end, cancel), strict=True):
        told = isinstance(answer, Conflict)
        history = [row.data["to"] for row in store.events_after(TENANT, job_id, 0, 10, kind="state")[0]]
        assert ended.state == ("succeeded" if told else "cancelled")
        assert history == ["queued", "running", ended.state]


def test_two_threads_of_a_control_plane_say_at_once_for_the_first_time_that_it_is_alive(database: Database) -> None:
    owners = [Owner(database) for _ in range(20)]
    rounds = race(20, *[lambda turn: owners[turn].renew([])] * 3)
    assert all(answer is not None for answers in rounds for answer in answers)
