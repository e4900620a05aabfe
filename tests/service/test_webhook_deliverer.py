"""Deliveries reach a real receiver on loopback, signed, until it takes them, and none holds up the others."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import sqlalchemy as sa

from service.clock import since_1970
from service.database import Database, metadata
from service.webhooks.deliverer import OTHER_SECRET, Deliverer
from service.webhooks.outbox import LEASE_S, PER_HOST, Outbox
from service.webhooks.registry import OLD_SECRET_S, Webhooks
from service.webhooks.sender import Sender, default_tls
from service.webhooks.targets import Rules
from support.receivers import WITHIN_S, Receiver, status

TENANT = "default"
RULES = Rules(private=True)
TLS = default_tls()


class World:
    """A deliverer with a clock, which the test moves."""

    def __init__(self, database: Database) -> None:
        self.now, self.master = 1_800_000_000.0, b"m" * 32
        time = sa.bindparam("database_time", type_=sa.Double(), callable_=lambda: self.now)
        self.registry = Webhooks(database, RULES, lambda: self.master, lambda: since_1970(self.now))
        outbox = Outbox(database, time, random=lambda: 0.0)
        self.has_threads = True
        self.deliverer = Deliverer(outbox, Sender(RULES, tls=TLS), lambda: self.master, lambda: self.now, self.begin)

    def begin(self, thread: threading.Thread) -> None:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        thread.start()

    def webhook(self, url: str) -> tuple[str, str]:
        """Its id and secret."""
        made, secret = self.registry.add(TENANT, url, {"events": ["job.queued"], "labels": {}, "description": ""})
        return made.id, secret

    def step(self) -> None:
        """Sends what is due, and waits until it is written down how that went."""
        self.deliverer.step()
        self.deliverer.settled(WITHIN_S)

    def log(self, webhook: str) -> list[Any]:
        return list(self.registry.deliveries(TENANT, webhook, None, None, 500))[::-1]


@pytest.fixture
def world(tmp_path: Any) -> Iterator[World]:
    database = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    with database.writing() as connection:
        metadata.create_all(connection)
    world = World(database)
    yield world
    world.deliverer.stop(WITHIN_S)
    database.close()


@pytest.fixture
def receiving() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def begin(*answers: Any) -> Receiver:
        made.append(Receiver(*answers))
        return made[-1]

    yield begin
    for receiver in made:
        receiver.stop()


def test_a_receiver_that_fails_at_first_gets_the_same_message_again_signed_anew(
    world: World, receiving: Callable[..., Receiver]
) -> None:
    receiver = receiving(status(500, b"busy"), status(302, Location="/other"))
    webhook, secret = world.webhook(receiver.url)
    world.registry.ping(TENANT, webhook)
    world.step()
    first = receiver.next()
    (row,) = world.log(webhook)
    assert (row.status, row.response, row.state) == (500, "busy", "failed")
    assert first.is_signed_with(secret)
    assert first.headers["webhook-id"] == row.id
    assert first.headers["webhook-timestamp"] == "1800000000"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"].startswith("Chainrule/")
    assert first.event == {"type": "ping", "timestamp": since_1970(world.now), "data": {"webhook_id": webhook}}
    for code in (302, 200):
        world.now += 100
        world.registry.redeliver(TENANT, webhook, row.id)
        world.step()
        again = receiver.next()
        assert (again.body, again.headers["webhook-id"]) == (first.body, row.id)
        assert again.headers["webhook-timestamp"] == str(int(world.now))
        assert again.is_signed_with(secret)
        assert world.log(webhook)[0].status == code
    assert (world.log(webhook)[0].state, world.log(webhook)[0].attempts) == ("succeeded", 3)
    assert receiver.nothing_came()


def test_for_a_day_the_old_secret_signs_too(world: World, receiving: Callable[..., Receiver]) -> None:
    receiver = receiving()
    webhook, old = world.webhook(receiver.url)
    _, new = world.registry.rotate_secret(TENANT, webhook)
    for passed_s, both in ((0, True), (OLD_SECRET_S - 1, True), (OLD_SECRET_S + 1, False)):
        world.now = 1_800_000_000.0 + passed_s
        world.registry.ping(TENANT, webhook)
        world.step()
        came = receiver.next()
        assert (came.is_signed_with(new), came.is_signed_with(old)) == (True, both)
        assert len(came.headers["webhook-signature"].split(" ")) == 1 + both


def test_with_another_key_file_nothing_is_sent_until_the_secret_is_changed(
    world: World, receiving: Callable[..., Receiver]
) -> None:
    receiver = receiving()
    webhook, _ = world.webhook(receiver.url)
    world.master = b"n" * 32
    world.registry.ping(TENANT, webhook)
    world.step()
    assert receiver.nothing_came()
    assert [row.error for row in world.log(webhook)] == [OTHER_SECRET]
    _, secret = world.registry.rotate_secret(TENANT, webhook)
    world.registry.ping(TENANT, webhook)
    world.step()
    assert receiver.next().is_signed_with(secret)


def test_a_slow_receiver_holds_up_no_other(world: World, receiving: Callable[..., Receiver]) -> None:
    def late(handler: BaseHTTPRequestHandler) -> None:
        assert slow.released.wait(WITHIN_S)
        status(200)(handler)

    slow = receiving(*[late] * 5)
    quick = receiving()
    of_slow, _ = world.webhook(slow.url)
    of_quick, _ = world.webhook(quick.url)
    for webhook in [of_slow] * 5 + [of_quick] * 2:
        world.registry.ping(TENANT, webhook)
    world.deliverer.step()
    for _ in range(2):
        quick.next()
        slow.next()
    world.deliverer.step()
    assert slow.nothing_came(), "two at once, and the others wait"
    slow.released.set()
    world.deliverer.settled(WITHIN_S)
    world.step()
    world.step()
    assert {row.state for row in world.log(of_slow)} == {"succeeded"}


def test_what_no_thread_could_be_had_for_holds_no_place_and_is_sent_once_its_lease_is_over(
    world: World, receiving: Callable[..., Receiver]
) -> None:
    receiver = receiving()
    webhook, _ = world.webhook(receiver.url)
    for _ in range(PER_HOST):
        world.registry.ping(TENANT, webhook)
    world.has_threads = False
    for _ in range(PER_HOST):
        with pytest.raises(RuntimeError, match="can't start new thread"):
            world.deliverer.step()
        world.now += LEASE_S + 1
    world.deliverer.settled(WITHIN_S)
    assert receiver.nothing_came()
    world.has_threads = True
    world.step()
    assert {receiver.next().headers["webhook-id"] for _ in range(PER_HOST)} == {row.id for row in world.log(webhook)}


def test_a_deliverer_delivers_by_itself_and_ends_when_it_is_told_to(
    world: World, receiving: Callable[..., Receiver]
) -> None:
    receiver = receiving()
    webhook, _ = world.webhook(receiver.url)
    world.deliverer.start()
    world.registry.ping(TENANT, webhook)
    assert receiver.next().event["type"] == "ping"
    world.deliverer.stop(WITHIN_S)
    assert [row.state for row in world.log(webhook)] == ["succeeded"]
    world.registry.ping(TENANT, webhook)
    assert receiver.nothing_came()
