"""The jobs that wait, in the database: seen in the order in which they are served, however many there are."""

from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from service.catalog import Catalog
from service.database import Database, jobs, tenants
from service.jobs import JobState, Move
from service.queue import AT_MOST_TENANTS, FEW_TENANTS, FEWEST, LOOK_AHEAD, TOO_LARGE
from service.store import Store
from support.jobs import TENANT, dataset, new_job

MOMENT = "2026-11-27T10:00:00.000000Z"


@pytest.fixture
def store(database: Database, catalog: Catalog) -> Store:
    return Store(database)


def submitted(store: Store, **spec: Any) -> str:
    return str(store.add(new_job(**spec))[0].id)


def copies(database: Database, job_id: str, count: int, at: str = "", **values: Any) -> None:
    """As many more jobs like one that is there, with ids that begin with `at`."""
    with database.writing() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()._asdict() | values
        del row["number"], row["waits"]
        rows = [row | {"id": f"{at or job_id}-{number}"} for number in range(count)]
        connection.execute(sa.insert(jobs), rows)


def test_a_tenants_jobs_are_seen_by_priority_then_by_age(store: Store) -> None:
    ids = [submitted(store, priority=priority) for priority in (0, 5, 0, 5, -1)]
    assert [job.id for job in store.queue.head()] == [ids[1], ids[3], ids[0], ids[2], ids[4]]


def test_jobs_that_are_too_large_do_not_fill_the_place_of_those_that_could_start(store: Store) -> None:
    huge, large, small = (submitted(store, priority=cpus, workers={"min": cpus, "max": 8}) for cpus in (8, 4, 2))
    assert [job.id for job in store.queue.head(2)] == [small]
    assert [job.id for job in store.queue.too_large(2)] == [large, huge]
    assert [job.id for job in store.queue.head(4)] == [large, small]


@pytest.mark.parametrize("others", [0, FEW_TENANTS], ids=["few tenants", "many tenants"])
def test_jobs_above_their_tenants_quota_do_not_fill_the_place_of_those_that_could_start(
    database: Database, store: Store, others: int
) -> None:
    like = submitted(store)
    for number in range(others):
        copies(database, like, 1, tenant=f"tenant-{number}", at=f"tenant-{number}")
    wide = submitted(store, workers={"min": 3, "max": 8}, priority=1)
    copies(database, wide, LOOK_AHEAD)
    copies(database, wide, 1, tenant="wide", at="wide")
    most = {TENANT: 2, "wide": 3, "absent": 1}
    assert [job.id for job in store.queue.head(4, most) if job.tenant == TENANT] == [like]
    assert [job.id for job in store.queue.head(4, most) if job.tenant == "wide"] == ["wide-0"]
    assert {job.tenant for job in store.queue.too_large(4, most)} == {TENANT}
    waiting, _, _ = store.queue.all_that_wait(4, most)
    assert [job.cpus_min for job in waiting if job.tenant == TENANT] == [1]
    assert len(store.queue.all_that_wait(4)[0]) == len(waiting) + 1 + LOOK_AHEAD


def test_thousands_of_jobs_of_one_tenant_do_not_hide_those_of_others(
    database: Database, catalog: Catalog, store: Store
) -> None:
    copies(database, submitted(store), 3_000)
    copies(database, submitted(store, workers={"min": 8, "max": 8}), 1_000, tenant="large")
    catalog.add(dataset("ds_2", tenant="other"))
    theirs, _ = store.add(new_job(dataset_id="ds_2", tenant="other"))
    head = store.queue.head(4)
    assert [job.id for job in head if job.tenant == "other"] == [theirs.id]
    assert FEWEST <= sum(job.tenant == TENANT for job in head) <= 200
    assert len(store.queue.too_large(4)) == TOO_LARGE


def test_of_many_tenants_a_few_jobs_are_seen_each_the_first_by_priority_then_by_age(
    database: Database, store: Store
) -> None:
    names = {f"tenant-{number}" for number in range(FEW_TENANTS + 1)}
    for priority in (0, 3):
        like = submitted(store, priority=priority)
        for name in names:
            copies(database, like, FEWEST - 1, tenant=name, at=f"{name}-{priority}")
    seen = Counter((job.tenant, job.priority) for job in store.queue.head())
    each = 200 // (FEW_TENANTS + 2)
    assert {seen[name, 3] for name in names} == {FEWEST - 1}
    assert {seen[name, 0] for name in names} == {min(each, 2 * (FEWEST - 1)) - (FEWEST - 1)}


def test_of_very_many_tenants_those_are_seen_whose_turn_is_next(database: Database, store: Store) -> None:
    like, running, urgent = submitted(store), submitted(store), submitted(store, priority=1)
    names = [f"tenant-{number:03}" for number in range(AT_MOST_TENANTS + 50)]
    for name in names:
        copies(database, like, FEWEST + 1, tenant=name, at=name)
    busy, served, last = names[:20], names[20:40], names[-1]
    times = {"created_at": MOMENT, "served_at": MOMENT}
    with database.writing() as connection:
        connection.execute(sa.insert(tenants), [{"name": name, **times} for name in served])
    for name in busy:
        copies(database, running, 1, tenant=name, at=f"{name}-running", state="running", workers=1)
    copies(database, urgent, 1, tenant=last, at=f"{last}-urgent")
    seen = Counter(job.tenant for job in store.queue.head())
    assert seen.keys() == {TENANT, last, *names[40 : 40 + AT_MOST_TENANTS - 2]}
    assert {seen[name] for name in seen.keys() - {TENANT}} == {FEWEST}


def test_a_reason_is_written_only_on_a_job_that_still_waits(store: Store) -> None:
    waiting, moved = submitted(store), submitted(store)
    store.move(moved, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"))
    store.queue.tell({waiting: "waits for a CPU", moved: "waits for a CPU"})
    assert (store.any_job(waiting).reason, store.any_job(moved).reason) == ("waits for a CPU", None)


def test_a_job_for_which_cpus_are_kept_stays_before_later_ones_where_the_clock_is_set_back(store: Store) -> None:
    first, second = submitted(store), submitted(store)
    store.queue.reserve(first, "2026-11-27T10:00:00.000000Z")
    store.queue.reserve(second, "2026-11-26T10:00:00.000000Z")
    kept = [job.reserved_at for job in store.queue.head()]
    assert kept == ["2026-11-27T10:00:00.000000Z", "2026-11-27T10:00:00.000001Z"]


def test_since_when_cpus_are_kept_for_a_job_is_told_until_it_starts(store: Store) -> None:
    job_id = submitted(store)
    for moment in ("2026-11-27T10:00:00.000000Z", "2026-11-27T11:00:00.000000Z"):
        store.queue.reserve(job_id, moment)
    assert [job.reserved_at for job in store.queue.head()] == ["2026-11-27T10:00:00.000000Z"]
    store.move(job_id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"))
    store.queue.reserve(job_id, "2026-11-27T12:00:00.000000Z")
    assert store.any_job(job_id).reserved_at is None
