"""What is to be delivered is written with the move, claimed by one at a time, and lost by nobody's death."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.clock import since_1970
from service.database import Database, deliveries, metadata, payloads, webhooks
from service.jobs import JobState, Move
from service.store import Store
from service.webhooks.outbox import (
    AT_ONCE,
    KEEPS,
    KEEPS_S,
    LEASE_S,
    MOST_BY_HAND,
    MOST_BYTES,
    MOST_WAIT,
    PER_HOST,
    PER_TENANT,
    Claimed,
    Due,
    Outbox,
    chosen,
)
from service.webhooks.registry import MAX_WEBHOOKS, PAGE_BYTES, Webhooks
from service.webhooks.retries import DISABLES_AFTER_S, Answer, Done, GiveUp, TryAgain
from service.webhooks.targets import Rules
from shared.errors import Conflict, NotFound
from support.jobs import TENANT, new_job, with_a_dataset

S = JobState
OK, BAD, GONE = Answer(0.1, 200), Answer(0.1, 500), Answer(0.1, 410)
ALL = [f"job.{state}" for state in S]


class World:
    """A database with its clock, which the test moves; any number of control planes may look into it."""

    def __init__(self, database: Database) -> None:
        self.database, self.now = database, 1_000_000.0
        self.store = Store(database)
        self.registry = Webhooks(database, Rules(), lambda: b"m" * 32, lambda: since_1970(self.now))
        self.outbox = self.control_plane()

    def control_plane(self, database: Database | None = None) -> Outbox:
        time = sa.bindparam("database_time", type_=sa.Double(), callable_=lambda: self.now)
        return Outbox(database or self.database, time, random=lambda: 0.0)

    def webhook(self, host: str = "a.example", tenant: str = TENANT, **values: Any) -> str:
        columns = {"events": ALL, "labels": {}, "description": "", **values}
        return str(self.registry.add(tenant, f"https://{host}/", columns)[0].id)

    def log(self, webhook_id: str, tenant: str = TENANT) -> list[Any]:
        """Its deliveries, oldest first."""
        return list(self.registry.deliveries(tenant, webhook_id, None, None, 500))[::-1]

    def submit(self, **spec: Any) -> str:
        return str(self.store.add(new_job(**spec))[0].id)

    def move(self, job_id: str, *states: JobState) -> None:
        for to in states:
            job = self.store.any_job(job_id)
            assert self.store.move(job_id, job.epoch, S(job.state), always(to), workers=1)


def always(state: JobState) -> Callable[[Any], Move]:
    return lambda _: Move(state, f"to {state}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """In memory, and quick."""
    database = Database("sqlite://")
    with database.writing() as connection:
        metadata.create_all(connection)
    with_a_dataset(database, tmp_path)
    yield World(database)
    database.close()


@pytest.fixture
def kept(database: Database, tmp_path: Path) -> World:
    """In an SQLite file, and in PostgreSQL."""
    with_a_dataset(database, tmp_path)
    return World(database)


# ---------------------------------------------------------------- written with the move
def test_every_move_of_a_job_is_to_be_told_with_its_number(world: World) -> None:
    webhook = world.webhook()
    job = world.submit(name="first", labels={"team": "a"})
    world.move(job, S.RUNNING, S.PAUSED, S.RUNNING, S.QUEUED, S.RUNNING, S.SUCCEEDED)
    log = world.log(webhook)
    states = ["queued", "running", "paused", "running", "queued", "running", "succeeded"]
    assert [row.event for row in log] == [f"job.{state}" for state in states]
    told = [json.loads(row.payload) for row in log]
    history, _ = world.store.events_after(TENANT, job, 0, 100, kind="state")
    assert [each["data"]["seq"] for each in told] == [row.seq for row in history]
    assert [each["timestamp"] for each in told] == [row.data["at"] for row in history]
    last = told[-1]["data"]
    assert (last["id"], last["name"], last["labels"]) == (job, "first", {"team": "a"})
    assert (last["from"], last["state"], last["reason"], last["attempt"]) == ("running", "succeeded", "to succeeded", 2)
    assert last["finished_at"] == told[-1]["timestamp"]
    assert "spec" not in last


def test_what_is_told_of_a_move_is_written_once_however_many_webhooks_are_told(world: World) -> None:
    webhooks_told = [world.webhook(f"{number}.example") for number in range(3)]
    job = world.submit(labels={"team": "a"})
    world.move(job, S.RUNNING)
    assert len(written(world)) == 2
    logs = [[row.payload for row in world.log(webhook)] for webhook in webhooks_told]
    assert logs[0] == logs[1] == logs[2] and set(logs[0]) == set(written(world))
    assert {claimed.payload for claimed in world.outbox.claim([])} == set(written(world))


def written(world: World) -> list[str]:
    """The payloads that there are."""
    with world.database.reading() as connection:
        return list(connection.scalars(sa.select(payloads.c.payload)))


def test_only_what_a_webhook_asked_for_is_written(world: World) -> None:
    ends = world.webhook(events=["job.succeeded", "job.failed"])
    team = world.webhook(labels={"team": "a", "kind": "x"})
    off = world.webhook()
    world.registry.change(TENANT, off, {}, False)
    stranger = world.webhook(tenant="other")
    for labels in ({"team": "a", "kind": "x", "more": "y"}, {"team": "a"}, {}):
        world.move(world.submit(labels=labels), S.RUNNING, S.FAILED)
    assert [row.event for row in world.log(ends)] == ["job.failed"] * 3
    assert [row.event for row in world.log(team)] == ["job.queued", "job.running", "job.failed"]
    assert world.log(off) == world.log(stranger, "other") == []


def test_a_move_that_is_not_made_tells_nothing(world: World) -> None:
    webhook = world.webhook()
    job = world.submit()
    assert world.store.move(job, 7, S.QUEUED, always(S.RUNNING)) is None
    with pytest.raises(AssertionError, match="there is no move"):
        world.store.move(job, 0, S.QUEUED, always(S.SUCCEEDED))
    assert [row.event for row in world.log(webhook)] == ["job.queued"]


def waits_for_us(connection: sa.Connection) -> bool:
    """Whether another transaction waits for a lock; in SQLite all others wait before they have begun."""
    if connection.dialect.name == "sqlite":
        return True
    return connection.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one() > 0


def test_a_webhook_that_is_deleted_at_the_same_moment_does_not_undo_the_move(kept: World) -> None:
    kept.webhook()
    job = kept.submit()
    moved = threading.Thread(target=kept.move, args=(job, S.RUNNING))
    with kept.database.writing() as connection:
        connection.execute(sa.delete(webhooks))
        moved.start()
        while moved.is_alive() and not waits_for_us(connection):
            time.sleep(0.01)
    moved.join(10)
    assert kept.store.any_job(job).state == S.RUNNING


def test_what_was_committed_is_delivered_though_the_process_was_killed_right_after(tmp_path: Path) -> None:
    """The process ends by SIGKILL in the line after the commit; another one finds the delivery due."""
    url = f"sqlite:///{tmp_path / 'killed.sqlite3'}"
    database = Database(url)
    database.migrate()
    with_a_dataset(database, tmp_path)
    world = World(database)
    webhook, job = world.webhook(events=["job.running"]), world.submit()
    code = f"""
import os, signal
from service.database import Database
from service.jobs import JobState, Move
from service.store import Store
assert Store(Database({url!r})).move({job!r}, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (claimed,) = world.outbox.claim([])
    assert json.loads(claimed.payload)["data"]["state"] == "running"
    assert world.outbox.settle(claimed, OK) == Done()
    assert [row.state for row in world.log(webhook)] == ["succeeded"]
    database.close()


# ---------------------------------------------------------------- claimed by one
def test_of_many_control_planes_one_claims_each_delivery(kept: World, database_url: str) -> None:
    for number in range(8):
        kept.webhook(f"h{number}.example", tenant=f"t{number}", events=["job.queued"])
    for _ in range(PER_HOST):
        for number in range(8):
            with kept.database.writing() as connection:
                webhook = connection.execute(sa.select(webhooks).offset(number).limit(1)).one()
            kept.registry.ping(webhook.tenant, webhook.id)
    databases = [Database(database_url) for _ in range(4)]
    planes = [kept.control_plane(each) for each in databases]
    barrier, claimed = threading.Barrier(len(planes)), []

    def claim(outbox: Outbox) -> None:
        barrier.wait()
        claimed.extend(outbox.claim([]))

    threads = [threading.Thread(target=claim, args=(outbox,)) for outbox in planes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len({each.number for each in claimed}) == 8 * PER_HOST
    for each in databases:
        each.close()


def test_what_a_dead_claimer_had_is_taken_by_another_once_its_lease_is_over(kept: World) -> None:
    webhook = kept.webhook(events=["job.queued"])
    kept.submit()
    (first,) = kept.outbox.claim([])
    other = kept.control_plane()
    kept.now += LEASE_S - 0.1
    assert other.claim([]) == []
    kept.now += 0.2
    (second,) = other.claim([])
    assert (second.id, second.attempt) == (first.id, 2)
    assert kept.outbox.settle(first, BAD) is None, "it was given up for dead, and its word no longer counts"
    assert other.settle(second, OK) == Done()
    assert [(row.state, row.attempts, row.status) for row in kept.log(webhook)] == [("succeeded", 2, 200)]


def flying(host: str = "a", tenant: str = "t") -> Due:
    return Due(0, 0, host, tenant)


def test_a_host_and_a_tenant_have_so_many_at_once_and_no_more() -> None:
    hosts = [Due(number, 0, f"h{number // 10}", f"t{number // 100}") for number in range(1_000)]
    taken = chosen(hosts, [])
    assert len(taken) == AT_ONCE
    assert max(sum(each.host == f"h{number}" for each in taken) for number in range(100)) == PER_HOST
    assert sum(each.tenant == "t0" for each in taken) == PER_TENANT
    assert chosen(hosts[:10], [flying("h0"), flying("h0")]) == []
    assert chosen(hosts[:10], [flying(f"x{number}", "t0") for number in range(PER_TENANT)]) == []
    assert len(chosen(hosts, [flying(f"x{number}", f"y{number}") for number in range(AT_ONCE - 1)])) == 1


def test_a_long_queue_for_one_host_does_not_hide_the_others(world: World) -> None:
    slow = world.webhook("slow.example")
    for _ in range(MOST_BY_HAND):
        world.registry.ping(TENANT, slow)
    with pytest.raises(Conflict, match="100 pings and deliveries sent again wait already, expected fewer than 100"):
        world.registry.ping(TENANT, slow)
    quick = world.webhook("quick.example")
    world.registry.ping(TENANT, quick)
    under_way: list[Claimed] = world.outbox.claim([])
    assert sorted(each.host for each in under_way) == ["quick.example:443", *["slow.example:443"] * PER_HOST]
    assert world.outbox.claim(under_way) == []


# ---------------------------------------------------------------- how it went
def attempt(world: World, answer: Answer) -> Any:
    (claimed,) = world.outbox.claim([])
    return world.outbox.settle(claimed, answer)


def test_a_failure_is_tried_again_when_its_time_has_come(world: World) -> None:
    webhook = world.webhook(events=["job.queued"])
    world.submit()
    assert attempt(world, BAD) == TryAgain(5.0)
    failing_since = world.now
    (row,) = world.log(webhook)
    assert (row.state, row.due_at, row.status, row.error) == (
        "pending", world.now + 5, 500, "the receiver answered 500, expected 200 to 299",
    )  # fmt: skip
    world.now += 4.9
    assert world.outbox.claim([]) == []
    world.now += 0.2
    assert attempt(world, BAD) == TryAgain(30.0)
    assert world.registry.get(TENANT, webhook).failing_since == failing_since
    world.now += 31
    assert attempt(world, OK) == Done()
    assert world.registry.get(TENANT, webhook).failing_since is None
    (row,) = world.log(webhook)
    assert (row.state, row.attempts, row.status, row.error) == ("succeeded", 3, 200, None)
    assert world.outbox.claim([]) == []


def test_gone_disables_the_webhook_and_what_waits_has_failed(kept: World) -> None:
    webhook = kept.webhook()
    job = kept.submit()
    kept.move(job, S.RUNNING)
    one, two = kept.outbox.claim([])
    kept.outbox.settle(one, GONE)
    kept.move(job, S.FAILED)
    assert [(row.event, row.state) for row in kept.log(webhook)] == [
        ("job.queued", "failed"),
        ("job.running", "failed"),
    ]
    assert kept.registry.get(TENANT, webhook).disabled_because == "the receiver answered 410 Gone: it wants no more"
    assert kept.log(webhook)[1].error.startswith("the webhook is disabled: the receiver answered 410")
    assert kept.outbox.settle(two, BAD) == GiveUp(), "nothing is tried again for a webhook that is disabled"
    for act in (kept.registry.ping, lambda *which: kept.registry.redeliver(*which, one.id)):
        with pytest.raises(Conflict, match="the webhook is disabled"):
            act(TENANT, webhook)
    kept.registry.change(TENANT, webhook, {}, True)
    kept.registry.redeliver(TENANT, webhook, one.id)
    assert attempt(kept, OK) == Done()
    assert [row.state for row in kept.log(webhook)] == ["succeeded", "failed"]


def test_a_webhook_that_failed_for_days_is_disabled_and_told_why(world: World) -> None:
    webhook = world.webhook(events=["job.queued"])
    for _ in range(4):
        world.submit()
        began = world.now
        while isinstance(follows := attempt(world, BAD), TryAgain):
            world.now += follows.in_s
        assert world.now - began < 24 * 3600
        world.now = began + 24 * 3600
        assert isinstance(follows, GiveUp)
        assert (follows.disables is not None) == (world.registry.get(TENANT, webhook).disabled_because is not None)
    assert DISABLES_AFTER_S == 3 * 24 * 3600
    why = "nothing was delivered for 4 days; last: the receiver answered 500, expected 200 to 299"
    assert world.registry.get(TENANT, webhook).disabled_because == why
    assert [row.state for row in world.log(webhook)] == ["failed"] * 4


def test_a_ping_is_sent_once_and_says_nothing_of_the_webhook(world: World) -> None:
    webhook = world.webhook()
    world.registry.ping(TENANT, webhook)
    assert attempt(world, BAD) == GiveUp()
    assert world.registry.get(TENANT, webhook).failing_since is None
    assert [(row.event, row.state) for row in world.log(webhook)] == [("ping", "failed")]


def test_a_delivery_is_sent_again_by_hand_once_and_one_that_waits_keeps_its_tries(world: World) -> None:
    webhook = world.webhook(events=["job.queued"])
    world.submit()
    attempt(world, BAD)
    (row,) = world.log(webhook)
    world.registry.redeliver(TENANT, webhook, row.id)
    assert attempt(world, BAD) == TryAgain(30.0)
    world.now += 30
    assert attempt(world, OK) == Done()
    world.registry.redeliver(TENANT, webhook, row.id)
    assert attempt(world, BAD) == GiveUp()
    for tenant, which in (("other", row.id), (TENANT, "dlv_unknown")):
        with pytest.raises(NotFound):
            world.registry.redeliver(tenant, webhook, which)


def test_a_tenant_has_so_many_webhooks_at_most(world: World) -> None:
    for _ in range(MAX_WEBHOOKS):
        world.webhook()
    with pytest.raises(Conflict, match="there are 50 webhooks"):
        world.webhook()
    assert world.webhook(tenant="other")


def test_a_webhook_that_is_deleted_takes_its_log_along(world: World) -> None:
    webhook = world.webhook()
    world.submit()
    (claimed,) = world.outbox.claim([])
    world.registry.delete(TENANT, webhook)
    assert world.outbox.settle(claimed, OK) is None
    with world.database.reading() as connection:
        assert connection.execute(sa.select(deliveries)).all() == []


def test_the_log_is_kept_for_so_long_and_so_many_and_what_waits_is_kept(kept: World) -> None:
    busy, quiet = kept.webhook("busy.example"), kept.webhook("quiet.example")
    waits = kept.registry.ping(TENANT, busy)
    ended = {"payload_id": waits.payload_id, "payload_bytes": waits.payload_bytes, "event": "ping", "state": "failed"}
    ended |= {"due_at": 0.0, "attempts": 1, "retries": False}
    with kept.database.writing() as connection:
        numbers = {row.id: row.number for row in connection.execute(sa.select(webhooks))}
        rows = [(busy, KEEPS + 5, kept.now), (quiet, 2, kept.now - KEEPS_S - 1), (quiet, 2, kept.now)]
        many = [
            {"id": f"dlv_{place}_{each}", "webhook_number": numbers[id_], "created_at": since_1970(moment), **ended}
            for place, (id_, count, moment) in enumerate(rows)
            for each in range(count)
        ]
        connection.execute(sa.insert(deliveries), many)
    assert kept.outbox.prune() == 5 + 2
    assert kept.outbox.prune() == 0
    assert len(kept.log(quiet)) == 2
    with kept.database.reading() as connection:
        left = connection.execute(sa.select(deliveries.c.id).where(deliveries.c.webhook_number == numbers[busy])).all()
    assert len(left) == KEEPS + 1
    assert (waits.id,) in left


def test_of_too_many_that_wait_the_oldest_are_given_up_and_the_log_says_so(kept: World) -> None:
    dead, well = kept.webhook("dead.example"), kept.webhook("well.example")
    waits = {"payload_id": "pay_1", "payload_bytes": 2, "event": "job.failed", "state": "pending", "due_at": 0.0}
    waits |= {"attempts": 1, "retries": True}
    with kept.database.writing() as connection:
        connection.execute(sa.insert(payloads).values(id="pay_1", payload="{}"))
        numbers = {row.id: row.number for row in connection.execute(sa.select(webhooks))}
        many = [
            {"id": f"dlv_{id_}_{each}", "webhook_number": numbers[id_], "created_at": since_1970(kept.now), **waits}
            for id_, count in {dead: MOST_WAIT + KEEPS + 5, well: 3}.items()
            for each in range(count)
        ]
        connection.execute(sa.insert(deliveries), many)
    assert kept.outbox.give_up() == KEEPS + 5
    assert kept.outbox.give_up() == 0
    counts = sa.select(deliveries.c.webhook_number, deliveries.c.state, sa.func.count())
    oldest = sa.select(deliveries).where(deliveries.c.webhook_number == numbers[dead]).order_by(deliveries.c.number)
    with kept.database.reading() as connection:
        left = connection.execute(counts.group_by(deliveries.c.webhook_number, deliveries.c.state)).all()
        first = connection.execute(oldest.limit(1)).one()
    of_dead = {
        (numbers[dead], "pending", MOST_WAIT),
        (numbers[dead], "failed", KEEPS),
    }
    assert set(map(tuple, left)) == of_dead | {(numbers[well], "pending", 3)}
    assert (first.id, first.error) == (f"dlv_{dead}_5", "given up: 10,000 newer events wait for this webhook")


def test_of_long_ones_that_wait_the_newest_are_kept_and_of_those_that_were_given_up_too(kept: World) -> None:
    dead, well = kept.webhook("dead.example"), kept.webhook("well.example")
    waits = {"payload_id": "pay_1", "event": "job.failed", "state": "pending", "due_at": 0.0, "attempts": 1}
    counts = {dead: (41, MOST_BYTES // 16), well: (16, MOST_BYTES // 16)}
    with kept.database.writing() as connection:
        connection.execute(sa.insert(payloads).values(id="pay_1", payload="{}"))
        numbers = {row.id: row.number for row in connection.execute(sa.select(webhooks))}
        of_all = {"created_at": since_1970(kept.now), "retries": True, **waits}
        for id_, (count, size_bytes) in counts.items():
            rows = [{"id": f"dlv_{id_}_{each}", "webhook_number": numbers[id_], **of_all} for each in range(count)]
            connection.execute(sa.insert(deliveries), [{**row, "payload_bytes": size_bytes} for row in rows])
    assert kept.outbox.give_up() == 41 - 16
    assert kept.outbox.give_up() == 0
    columns = sa.select(deliveries.c.webhook_number, deliveries.c.state, deliveries.c.error)
    with kept.database.reading() as connection:
        left = connection.execute(columns.order_by(deliveries.c.number)).all()
    error = "given up: 16 newer events wait for this webhook, and of more than 16 MiB the newest are kept"
    of_dead = [(numbers[dead], "failed", error)] * 16 + [(numbers[dead], "pending", None)] * 16
    assert list(map(tuple, left)) == of_dead + [(numbers[well], "pending", None)] * 16


def test_a_page_of_the_log_ends_before_its_limit_where_payloads_are_long(world: World) -> None:
    webhook = world.webhook()
    for _ in range(5):
        world.registry.ping(TENANT, webhook)
    with world.database.writing() as connection:
        connection.execute(sa.update(deliveries).values(payload_bytes=PAGE_BYTES // 2))
    pages, before = [], None
    while rows := world.registry.deliveries(TENANT, webhook, None, before, 500):
        pages.append(len(rows))
        before = rows[-1].number
    assert pages == [2, 2, 1]


def test_a_payload_is_kept_as_long_as_a_delivery_carries_it(world: World) -> None:
    first, second = world.webhook("a.example"), world.webhook("b.example")
    world.submit()
    kept = written(world)
    world.registry.delete(TENANT, first)
    world.outbox.prune()
    assert (len(kept), written(world)) == (1, kept)
    world.registry.delete(TENANT, second)
    world.outbox.prune()
    assert written(world) == []
