"""Jobs in the database: one winner of every race, nothing told twice, nothing lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.catalog import Catalog
from service.clock import now
from service.database import Database, datasets, plans
from service.jobs import JobState, Move, Verb, after_end, give_way
from service.kept_plans import LARGEST_BYTES, KeptPlans
from service.patience import Patience
from service.quota import Quota, Usage
from service.store import JobFilter, Store, Told
from service.submission import add_all, digest_of_request
from service.tenants import Tenants
from shared.errors import Conflict, InvalidInput, NotFound, TooLarge
from shared.spec import JobSpec
from shared.table import Column
from support.jobs import TENANT, dataset, new_job, with_a_dataset

S = JobState


@pytest.fixture
def store(database: Database, catalog: Catalog) -> Store:
    return Store(database)


def to(state: S) -> Callable[[Any], Move]:
    return lambda _: Move(state, f"to {state}")


def running(store: Store, **spec: Any) -> str:
    job, _ = store.add(new_job(**spec))
    assert store.move(job.id, 0, S.QUEUED, to(S.RUNNING), workers=1)
    return str(job.id)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised, all begun at the same moment."""
    barrier, outcomes = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            outcomes[number] = call()
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


# ---------------------------------------------------------------- submitting
def test_a_new_job_is_queued_with_its_spec_and_its_first_event(store: Store) -> None:
    job, is_new = store.add(new_job(name="first", labels={"team": "a"}))
    rows, state = store.events_after(TENANT, job.id, 0, 10)
    assert (is_new, state) == (True, S.QUEUED)
    assert [(row.seq, row.type, row.data["from"], row.data["to"]) for row in rows] == [(1, "state", None, "queued")]
    assert store.any_job(job.id).plan["spec"]["labels"] == {"team": "a"}


def test_the_same_key_and_request_is_the_same_job(store: Store) -> None:
    first, _ = store.add(new_job("key"))
    again, is_new = store.add(new_job("key"))
    assert (again.id, is_new) == (first.id, False)
    assert store.known_for(TENANT, "key", "r") is not None


def test_the_same_key_with_another_request_is_refused(store: Store) -> None:
    store.add(new_job("key"))
    with pytest.raises(InvalidInput, match="Idempotency-Key"):
        store.add(new_job("key", "another"))
    assert len(store.list(TENANT, JobFilter(), None, 10)) == 1


def test_a_field_that_a_later_version_adds_makes_no_other_request_of_one_that_does_not_name_it() -> None:
    class Later(JobSpec):
        added: int = 3

    sent = {"dataset": "numbers", "target": "y", "optimizer": {"type": "sgd", "learning_rate": 0.5}}
    first = digest_of_request(JobSpec.model_validate(sent))
    assert digest_of_request(Later.model_validate(sent)) == first
    assert digest_of_request(JobSpec.model_validate({**sent, "epochs": 10})) == first, "the default, by name"
    others = {"added": 4}, {"epochs": 11}, {"optimizer": {"type": "rmsprop", "learning_rate": 0.5}}, {"shuffle": False}
    assert first not in {digest_of_request(Later.model_validate({**sent, **other})) for other in others}


def test_one_key_sent_many_times_at_once_makes_one_job(store: Store) -> None:
    outcomes = at_once(*[lambda: store.add(new_job("key"))] * 6)
    assert len({job.id for job, _ in outcomes}) == 1
    assert sum(is_new for _, is_new in outcomes) == 1
    assert len(store.list(TENANT, JobFilter(), None, 10)) == 1


def test_of_jobs_that_come_together_each_is_taken_or_refused_by_itself(database: Database, store: Store) -> None:
    store.add(new_job("old"))
    batch = [
        new_job(labels={"team": "a"}),
        new_job("new"),
        new_job("new"),
        new_job("new", "another"),
        new_job("old"),
        new_job("old", "another"),
        new_job(dataset_id="ds_gone"),
        new_job(tenant="other"),
    ]
    with database.writing() as connection:
        outcomes = add_all(connection, batch, now(), Patience())
    told = [str(each) if isinstance(each, InvalidInput) else each[1] for each in outcomes]
    assert told[:3] == [True, True, False]
    assert told[4] is False
    assert all("Idempotency-Key" in str(told[place]) for place in (3, 5))
    assert all("dataset" in str(told[place]) for place in (6, 7))
    rows = store.list(TENANT, JobFilter(), None, 10)
    assert {row.job.id for row in rows} == {job.id for job, _ in (each for each in outcomes if isinstance(each, tuple))}
    assert [row.job.id for row in store.list(TENANT, JobFilter(labels=[("team", "a")]), None, 10)] == [batch[0].id]
    for row in rows:
        assert [event.data["to"] for event in store.events_after(TENANT, row.job.id, 0, 10)[0]] == ["queued"]


def test_a_job_on_a_data_set_deleted_meanwhile_is_refused(store: Store, catalog: Catalog) -> None:
    catalog.delete(TENANT, "ds_1")
    with pytest.raises(InvalidInput, match="dataset"):
        store.add(new_job())


def test_a_data_set_is_deleted_or_used_never_both(store: Store, catalog: Catalog) -> None:
    submitted, deleted = at_once(lambda: store.add(new_job()), lambda: catalog.delete(TENANT, "ds_1"))
    assert isinstance(submitted, InvalidInput) != isinstance(deleted, Conflict)


def test_each_tenant_has_its_own_names_keys_and_jobs(store: Store, catalog: Catalog) -> None:
    theirs, is_new = catalog.add(dataset("ds_2", tenant="other"))
    assert (is_new, theirs.version) == (True, 1)
    ours, _ = store.add(new_job("key"))
    job, is_new = store.add(new_job("key", "another", "ds_2", tenant="other"))
    assert (is_new, [each.job.id for each in store.list("other", JobFilter(), None, 10)]) == (True, [job.id])
    with pytest.raises(InvalidInput, match="dataset"):
        store.add(new_job(dataset_id="ds_2"))
    for tenant, job_id in ((TENANT, job.id), ("other", ours.id)):
        for call in (store.get, store.delete):
            with pytest.raises(NotFound):
                call(tenant, job_id)
        with pytest.raises(NotFound):
            store.request(tenant, job_id, "cancel")
    with pytest.raises(NotFound):
        catalog.delete(TENANT, "ds_2")
    assert {row.id for row in store.queue.head()} == {ours.id, job.id}


# ---------------------------------------------------------------- moving
def test_a_move_needs_the_state_and_the_epoch_that_the_caller_believes(store: Store) -> None:
    job_id = running(store)
    assert store.move(job_id, 2, S.RUNNING, to(S.FAILED)) is None
    assert store.move(job_id, 1, S.PAUSED, to(S.RUNNING)) is None
    assert store.move("job_unknown", 1, S.RUNNING, to(S.FAILED)) is None
    assert store.any_job(job_id).state == S.RUNNING


def test_a_move_that_is_not_in_the_table_is_a_bug_that_changes_nothing(store: Store) -> None:
    job, _ = store.add(new_job())
    with pytest.raises(AssertionError, match="no move from queued to succeeded"):
        store.move(job.id, 0, S.QUEUED, to(S.SUCCEEDED))
    assert store.any_job(job.id).state == S.QUEUED


def test_of_two_ends_at_once_one_wins(store: Store) -> None:
    job_id = running(store)
    ends = [S.SUCCEEDED, S.FAILED, S.QUEUED, S.CANCELLED]
    outcomes = at_once(*[lambda end=end: store.move(job_id, 1, S.RUNNING, to(end)) for end in ends])  # type: ignore[misc]
    (winner,) = [job for job in outcomes if job is not None]
    history = [row.data["to"] for row in store.events_after(TENANT, job_id, 0, 10, kind="state")[0]]
    assert history == ["queued", "running", winner.state]


def test_going_back_to_the_queue_counts_the_attempt_up_and_keeps_the_first_start(store: Store) -> None:
    job_id = running(store)
    started_at = store.any_job(job_id).started_at
    store.move(job_id, 1, S.RUNNING, to(S.QUEUED))
    job = store.any_job(job_id)
    assert (job.attempt, job.workers, job.reason) == (2, 0, "to queued")
    store.move(job_id, 2, S.QUEUED, to(S.RUNNING))
    assert store.any_job(job_id).started_at == started_at is not None


def test_a_resume_asked_for_while_pausing_outlives_the_pause(store: Store) -> None:
    job_id = running(store)
    store.request(TENANT, job_id, "pause")
    store.request(TENANT, job_id, "resume")
    store.move(job_id, 1, S.RUNNING, lambda requested: after_end("paused", requested, {}))
    assert [job.id for job in store.queue.head()] == [job_id]
    store.move(job_id, 2, S.PAUSED, to(S.RUNNING))
    assert store.any_job(job_id).requested is None


def test_a_preempted_job_waits_until_it_runs_again_or_a_user_pauses_it(store: Store) -> None:
    gives_way = give_way("job_2 (priority 5)", 1)
    job_id = running(store)
    store.move(job_id, 1, S.RUNNING, lambda _: gives_way)
    (waiting,) = store.queue.head()
    assert (waiting.id, waiting.preempted_by, waiting.reason) == (job_id, "job_2 (priority 5)", gives_way.why)
    assert store.request(TENANT, job_id, "resume").reason == gives_way.why
    store.move(job_id, 2, S.PAUSED, to(S.RUNNING))
    assert store.any_job(job_id).preempted_by is None
    store.move(job_id, 3, S.RUNNING, lambda _: gives_way)
    store.request(TENANT, job_id, "pause")
    job = store.any_job(job_id)
    assert (job.reason, job.preempted_by, list(store.queue.head())) == ("paused by request", None, [])


def test_a_job_that_a_user_pauses_while_it_is_about_to_start_does_not_start(store: Store) -> None:
    job_id = running(store)
    store.move(job_id, 1, S.RUNNING, to(S.PAUSED))
    epoch = store.any_job(job_id).epoch
    for verb in ("resume", "pause"):
        store.request(TENANT, job_id, verb)
    assert store.move(job_id, epoch, S.PAUSED, to(S.RUNNING), if_it_waits=True) is None
    assert store.any_job(job_id).state == S.PAUSED
    store.request(TENANT, job_id, "resume")
    assert store.move(job_id, epoch, S.PAUSED, to(S.RUNNING), if_it_waits=True) is not None


def test_when_a_job_is_tried_again_is_kept_until_it_starts(database: Database, catalog: Catalog) -> None:
    store = Store(database, clock=lambda: "2026-11-24T23:59:58.500000Z")
    job_id = running(store)
    store.move(job_id, 1, S.RUNNING, lambda _: Move(S.QUEUED, "tried again in 4 s", retry_in_s=4.0))
    assert store.queue.head()[0].retry_at == "2026-11-25T00:00:02.500000Z"
    store.move(job_id, 2, S.QUEUED, to(S.RUNNING))
    assert store.any_job(job_id).retry_at is None


def test_only_an_ended_job_is_deleted_and_its_events_with_it(store: Store) -> None:
    job_id = running(store)
    with pytest.raises(Conflict, match="running"):
        store.delete(TENANT, job_id)
    store.move(job_id, 1, S.RUNNING, to(S.SUCCEEDED))
    store.delete(TENANT, job_id)
    with pytest.raises(NotFound):
        store.events_after(TENANT, job_id, 0, 10)
    with pytest.raises(NotFound):
        store.delete(TENANT, job_id)


# ---------------------------------------------------------------- what attempts tell
def test_metrics_of_a_step_are_told_once_whatever_is_repeated(store: Store) -> None:
    job_id = running(store)
    for steps in ([1, 2], [2, 3], [1], [4]):
        told = [Told("metrics", {"step": step}, step) for step in steps]
        assert store.record(job_id, 1, told)
    rows = store.metrics_after(TENANT, job_id, 1, 10)
    assert [row.step for row in rows] == [2, 3, 4]
    assert [row.seq for row in store.events_after(TENANT, job_id, 2, 10)[0]] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("points", "steps"),
    [(2, [1, 11]), (4, [1, 4, 8, 11]), (7, [1, 2, 4, 6, 8, 10, 11]), (9, [1, 2, 3, 4, 6, 8, 9, 10, 11])],
)
def test_thinned_metrics_are_those_at_the_ends_of_epochs_first(store: Store, points: int, steps: list[int]) -> None:
    job_id = running(store, steps_per_epoch=2)
    store.record(job_id, 1, [Told("metrics", {"step": step}, step) for step in range(1, 12)])
    assert [row.step for row in store.metrics_spread(TENANT, job_id, 0, points)] == steps


def test_what_an_attempt_tells_after_its_end_is_not_taken_in(store: Store) -> None:
    job_id = running(store)
    store.move(job_id, 1, S.RUNNING, to(S.QUEUED))
    assert not store.record(job_id, 1, [Told("progress", {})], progress={"fraction": 1.0})
    assert store.any_job(job_id).progress["fraction"] == 0


def test_events_of_many_writers_at_once_are_numbered_without_gaps(store: Store) -> None:
    job_id = running(store)
    outcomes = at_once(*[lambda: store.record(job_id, 1, [Told("progress", {})] * 3)] * 5)
    assert outcomes == [True] * 5
    assert [row.seq for row in store.events_after(TENANT, job_id, 0, 100)[0]] == list(range(1, 18))


def test_listeners_are_told_only_of_what_is_committed(database: Database, catalog: Catalog) -> None:
    heard: list[tuple[str, int]] = []
    store: Store

    def listen(job_id: str) -> None:
        heard.append((job_id, len(store.events_after(TENANT, job_id, 0, 10)[0])))

    store = Store(database, listen)
    job_id = running(store)
    store.record(job_id, 1, [Told("progress", {})])
    assert heard == [(job_id, 1), (job_id, 2), (job_id, 3)]


# ---------------------------------------------------------------- lists
def test_jobs_are_listed_newest_first_and_filtered(store: Store) -> None:
    one = running(store, labels={"team": "a"})
    two, _ = store.add(new_job(labels={"team": "b", "x": "1"}))
    three, _ = store.add(new_job())

    def listed(before: int | None = None, limit: int = 10, **which: Any) -> list[str]:
        return [row.job.id for row in store.list(TENANT, JobFilter(**which), before, limit)]

    assert listed() == [three.id, two.id, one]
    assert listed(before=three.number, limit=1) == [two.id]
    assert listed(states=[S.RUNNING]) == [one]
    assert listed(states=[S.RUNNING, S.QUEUED], labels=[("team", None)]) == [two.id, one]
    assert listed(labels=[("team", "b"), ("x", None)]) == [two.id]
    assert listed(labels=[("team", "c")]) == []


def test_a_page_of_jobs_with_long_plans_ends_before_its_limit(store: Store) -> None:
    features = [f"{number:0200}" for number in range(10_000)]  # 2 MB
    ids = [store.add(new_job(features=features))[0].id for _ in range(5)]
    pages, before = [], None
    while rows := store.list(TENANT, JobFilter(), before, 500):
        pages.append([row.job.id for row in rows])
        before = rows[-1].job.number
    assert [len(page) for page in pages] == [3, 2]
    assert [job_id for page in pages for job_id in page] == ids[::-1]
    listed = store.list(TENANT, JobFilter(), None, 9)
    assert all(row.job.plan_bytes == pytest.approx(2_000_000, rel=0.1) for row in listed)


def test_a_list_shows_each_jobs_plan_whether_it_was_kept_or_is_read(database: Database, store: Store) -> None:
    ids = [store.add(new_job(epochs=number))[0].id for number in range(1, 9)]
    for limit in (3, 8, 8):  # some, all, and again
        listed = store.list(TENANT, JobFilter(), None, limit)
        assert [(row.job.id, row.plan) for row in listed] == [
            (job_id, store.any_job(job_id).plan) for job_id in ids[::-1][:limit]
        ]
    with counted(database, "FROM plans") as read:
        store.list(TENANT, JobFilter(), None, 8)
        assert read == []
        store.add(new_job())
        store.list(TENANT, JobFilter(), None, 9)
    assert len(read) == 1


@contextmanager
def counted(database: Database, part: str) -> Iterator[list[str]]:
    """The statements with that in them that are made meanwhile."""
    seen: list[str] = []

    def see(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if part in statement:
            seen.append(statement)

    sa.event.listen(database._engine, "before_cursor_execute", see)
    yield seen
    sa.event.remove(database._engine, "before_cursor_execute", see)


@pytest.mark.parametrize(("most_bytes", "is_kept"), [(100 << 10, True), (10, False)])
def test_plans_are_kept_up_to_so_many_bytes(database: Database, store: Store, most_bytes: int, is_kept: bool) -> None:
    features = [[f"{number:0100}" for number in range(count)] for count in (1, 10, LARGEST_BYTES // 100)]
    ids = [store.add(new_job(features=each))[0].id for each in features]
    rows, kept = [row.job for row in store.list(TENANT, JobFilter(), None, 9)], KeptPlans(most_bytes)
    for _ in range(2):
        with database.reading() as connection:
            found = kept.of(connection, rows)
        assert [found[job_id]["spec"]["features"] for job_id in ids] == features
        assert kept._bytes <= most_bytes
        assert kept._bytes == sum(size for _, size in kept._plans.values())
        assert set(kept._plans) == (set(ids[:2]) if is_kept else set())


def test_those_plans_are_forgotten_first_that_were_listed_least_recently(database: Database, store: Store) -> None:
    rows = [store.add(new_job())[0] for _ in range(3)]
    kept = KeptPlans(2 * rows[0].plan_bytes)
    with database.reading() as connection:
        for listed in (rows[:2], rows[:1], rows[2:]):
            kept.of(connection, listed)
    assert set(kept._plans) == {rows[0].id, rows[2].id}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_that_is_deleted_while_it_is_listed_has_no_plan_and_ends_no_page_early(store: Store) -> None:
    """On SQLite a list sees what there was when it began."""
    _, gone, *others = [running(store) for _ in range(5)]
    store.move(gone, 1, S.RUNNING, to(S.CANCELLED))

    class Late(KeptPlans):
        def of(self, *asked: Any) -> Any:
            with suppress(NotFound):
                store.delete(TENANT, gone)
            return super().of(*asked)

    store._plans = Late()
    listed = store.list(TENANT, JobFilter(), None, 4)
    assert [row.job.id for row in listed] == [*others[::-1], gone]
    assert [row.plan is None for row in listed] == [False] * 3 + [True]


def test_what_a_job_tells_and_what_is_asked_of_it_and_its_log_need_no_plan(database: Database, store: Store) -> None:
    job_id, late = running(store, labels={"team": "a"}), running(store)
    with database.writing() as connection:
        connection.execute(sa.delete(plans))
    assert store.record(job_id, 1, [Told("metrics", {"epoch": 1}, 1)], progress={"fraction": 1.0})
    rows = [store.request(TENANT, job_id, verb) for verb in ("pause", "cancel", "cancel")]
    assert store.metrics_spread(TENANT, job_id, 0, 5)[0].step == 1
    assert store.log_after(TENANT, job_id, 0, 10)[0][-1].message == "epoch 1 of 10: "
    rows += [store.move(each, 1, S.RUNNING, to(S.CANCELLED)) for each in (job_id, late)]
    assert [(row.requested, "plan" in row._fields) for row in rows if row is not None] == [
        ("pause", False),
        ("cancel", False),
        ("cancel", False),
        (None, False),
        (None, False),
    ]
    store.delete(TENANT, job_id)


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_a_job_that_is_not_there_is_not_found(store: Store, verb: Verb) -> None:
    with pytest.raises(NotFound, match="job_1"):
        store.request(TENANT, "job_1", verb)


# ---------------------------------------------------------------- data sets
def test_the_same_bytes_under_the_same_name_are_the_same_data_set_others_the_next_version(catalog: Catalog) -> None:
    again, is_new = catalog.add(dataset("ds_2"))
    assert (again.id, is_new) == ("ds_1", False)
    other, is_new = catalog.add(dataset("ds_3", sha256="b" * 64))
    assert (other.version, is_new) == (2, True)
    assert catalog.find(TENANT, "numbers").id == "ds_3"
    assert catalog.find(TENANT, "ds_1").version == 1


def test_a_list_of_data_sets_reads_no_categories_and_ends_where_their_profiles_are_long(catalog: Catalog) -> None:
    wide = [Column(name=f"{number:0200}", type="number") for number in range(10_000)]  # 2 MB
    for number in range(2, 6):
        new = dataset(f"ds_{number}", sha256=f"{number:064}")
        catalog.add(replace(new, table=new.table.model_copy(update={"columns": wide})))
    page = catalog.list(TENANT, None, 500)
    assert [row.id for row in page] == ["ds_5", "ds_4"]
    assert "categories" not in page[0]._fields
    assert [row.id for row in catalog.list(TENANT, page[-1].number, 500)] == ["ds_3", "ds_2"]
    assert [row.id for row in catalog.list(TENANT, 2, 500)] == ["ds_1"]


@pytest.mark.parametrize("names", [("new", "new"), ("one", "other")])
def test_of_data_sets_added_at_once_no_more_are_listed_than_there_is_room_for(
    database: Database, catalog: Catalog, names: tuple[str, str]
) -> None:
    tenants = Tenants(database, Quota(stored_bytes=25))  # `ds_1` has 10
    new = [dataset(f"ds_{number}", name, str(number) * 64) for number, name in enumerate(names, 2)]
    room = [tenants.room_for(TENANT, each.table_bytes) for each in new]
    outcomes = at_once(*[lambda pair=pair: catalog.add(*pair) for pair in zip(new, room, strict=True)])  # type: ignore[misc]
    assert sorted(isinstance(outcome, TooLarge) for outcome in outcomes) == [False, True], outcomes
    assert tenants.stored_bytes(TENANT) == 20


def test_what_several_tenants_have_is_counted_for_each(database: Database, store: Store, catalog: Catalog) -> None:
    catalog.add(dataset("ds_2", tenant="other"))
    tenants = Tenants(database)
    running(store)
    jobs = [store.add(new_job(dataset_id="ds_2", tenant="other"))[0] for _ in range(2)]
    stored = 10 + sum(job.model_bytes + job.plan_bytes for job in jobs)
    usages = tenants.usages([TENANT, "other", "none"])
    assert usages["other"] == Usage(running_jobs=0, cpus=0, queued_jobs=2, stored_bytes=stored)
    assert usages["none"] == Usage(0, 0, 0, 0)
    assert (usages[TENANT].running_jobs, usages[TENANT].cpus, usages[TENANT].queued_jobs) == (1, 1, 0)
    assert {name: tenants.usage(name) for name in usages} == usages


def test_of_jobs_submitted_at_once_no_more_are_taken_than_there_is_room_for(database: Database, store: Store) -> None:
    tenants = Tenants(database)
    size = new_job().model_bytes + new_job().plan_bytes
    new = [replace(new_job(), may_store=tenants.stored_bytes(TENANT) + 3 * size) for _ in range(12)]
    others = [Store(database) for _ in range(3)]  # of other control planes
    outcomes = at_once(*[lambda pair=pair: pair[0].add(pair[1]) for pair in zip(others * 4, new, strict=True)])  # type: ignore[misc]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert (len(refused), len(store.list(TENANT, JobFilter(), None, 20))) == (9, 3), outcomes
    assert tenants.stored_bytes(TENANT) == new[0].may_store


def test_of_jobs_that_come_together_those_are_refused_for_which_there_is_no_room(
    database: Database, store: Store, catalog: Catalog
) -> None:
    catalog.add(dataset("ds_2", tenant="other"))
    old, _ = store.add(new_job("old"))
    full = Tenants(database).stored_bytes(TENANT)
    size = new_job().model_bytes + new_job().plan_bytes
    batch = [
        *(replace(new_job(key), may_store=full + size) for key in ("old", None, None, "late", "late")),
        replace(new_job(dataset_id="ds_2", tenant="other"), may_store=0),
        new_job(dataset_id="ds_2", tenant="other"),
    ]
    with database.writing() as connection:
        outcomes = add_all(connection, batch, now(), Patience())
    assert [str(each) if isinstance(each, InvalidInput) else type(each) for each in outcomes] == [
        *(tuple, tuple, Conflict, Conflict, Conflict, Conflict, tuple)
    ]
    assert isinstance(outcomes[0], tuple)
    assert (outcomes[0][0].id, outcomes[0][1]) == (old.id, False)


def test_a_data_set_of_which_only_its_upload_is_known_counts_by_that(database: Database, catalog: Catalog) -> None:
    tenants = Tenants(database)
    catalog.add(replace(dataset("ds_2", sha256="b" * 64), table_bytes=1_000))
    assert tenants.stored_bytes(TENANT) == 1_010
    with database.writing() as connection:
        connection.execute(sa.update(datasets).values(table_bytes=None))
    assert tenants.stored_bytes(TENANT) == 20


def test_who_looks_at_a_data_set_or_adds_it_again_reads_no_categories(catalog: Catalog) -> None:
    new = dataset("ds_2", sha256="b" * 64)
    added, _ = catalog.add(new)
    again = catalog.same(TENANT, new.name, new.table.sha256, new.read_as)
    for row in (added, again, catalog.find(TENANT, "ds_2"), catalog.find(TENANT, "numbers")):
        assert row is not None
        assert (row.id, "categories" in row._fields) == ("ds_2", False)


@pytest.mark.parametrize("is_alone", [True, False])
def test_tables_are_remembered_until_they_have_too_much_memory_together(
    database: Database, tmp_path: Path, is_alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(database, tmp_path, is_alone=is_alone)
    for dataset_id in ("ds_1", "ds_2", "ds_3"):
        new = dataset(dataset_id, name=dataset_id)
        catalog.add(replace(new, table=new.table.model_copy(update={"categories": {"y": ["x" * 100_000]}})))
    monkeypatch.setattr("service.catalog.MAX_TABLES_BYTES", 250_000)
    first, second, third = (catalog.tables_of(TENANT, name)[0] for name in ("ds_1", "ds_2", "ds_3"))
    assert catalog.tables_of(TENANT, "ds_2")[0] is second
    assert catalog.tables_of(TENANT, "ds_3")[0] is third
    again = catalog.tables_of(TENANT, "ds_1")[0]
    assert again == first
    assert again is not first
    monkeypatch.setattr("service.catalog.MAX_TABLES_BYTES", 0)
    third = catalog.tables_of(TENANT, "ds_2")[0]
    assert catalog.tables_of(TENANT, "ds_2")[0] is third, "the newest one is kept, however long it is"


def test_versions_of_uploads_at_once_are_numbered_without_gaps(catalog: Catalog) -> None:
    uploads = [dataset(f"ds_{number}", sha256=str(number) * 64) for number in range(2, 7)]
    outcomes = at_once(*[lambda new=new: catalog.add(new) for new in uploads])  # type: ignore[misc]
    assert sorted(row.version for row, _ in outcomes) == [2, 3, 4, 5, 6]


def test_the_version_of_a_deleted_data_set_is_not_used_again(catalog: Catalog) -> None:
    catalog.add(dataset("ds_2", sha256="b" * 64))
    catalog.delete(TENANT, "ds_2")
    catalog.delete(TENANT, "ds_1")
    again, is_new = catalog.add(dataset("ds_3", sha256="b" * 64))
    assert (again.version, is_new) == (3, True)


def test_the_same_bytes_uploaded_at_once_are_one_data_set(catalog: Catalog) -> None:
    uploads = [dataset(f"ds_{number}", name="new") for number in range(2, 7)]
    outcomes = at_once(*[lambda new=new: catalog.add(new) for new in uploads])  # type: ignore[misc]
    assert {row.version for row, _ in outcomes} == {1}
    assert sum(is_new for _, is_new in outcomes) == 1


@pytest.mark.parametrize("name", ["ds_9", "", "../../etc/passwd", "a\0b", "\ud800", "' OR 1=1 --"])
def test_what_is_no_data_set_is_not_found(catalog: Catalog, name: str) -> None:
    with pytest.raises(NotFound):
        catalog.find(TENANT, name)


def test_a_job_that_waited_too_long_is_told_as_a_move_like_any_other(database: Database, tmp_path: Path) -> None:
    with_a_dataset(database, tmp_path)
    moves: list[Any] = []
    moments = iter([1e9, 1e9, 1e9 + 5])
    store = Store(
        database,
        patience=Patience(lambda _: next(moments), monotonic=iter([0.0, 0.0, 5.0]).__next__),
        on_move=lambda job, to: moves.append((None if job is None else job.state, to)),
    )
    job = store.add(new_job(max_wait_s=1))[0]
    assert store.end_late(10) == []
    assert store.end_late(10) == [job.id]
    assert moves == [(None, "queued"), ("queued", "failed")]


# ---------------------------------------------------------------- data sets
def test_data_sets_are_found_by_id_or_as_the_newest_of_a_name_whatever_was_asked_before(catalog: Catalog) -> None:
    def found(*names: str) -> list[str | None]:
        return [table and table.dataset_id for table in catalog.tables_of(TENANT, *names)]

    catalog.add(dataset("ds_2", name="ds_like an id"))
    assert found("numbers", "ds_1", "ds_like an id", "ds_3", "nothing") == ["ds_1", "ds_1", "ds_2", None, None]
    catalog.add(dataset("ds_3", sha256="b" * 64))
    assert found("numbers", "ds_1", "ds_3") == ["ds_3", "ds_1", "ds_3"]
    catalog.delete(TENANT, "ds_3")
    assert found("numbers", "ds_3") == ["ds_1", None]
    assert catalog.tables_of("other", "numbers", "ds_1") == [None, None]
