"""Server-sent events: all of them, in order, once, and until the end."""

import asyncio
import json
import math
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule.sse import EventParser, ServerSentEvent
from service.bell import Bell
from service.concurrency import AT_ONCE
from service.connection import Connection
from service.database import Database
from service.events import HEARTBEAT_S, MOST_STREAMS, Feeds
from service.feed import AT_ONCE as TOLD_AT_ONCE
from service.feed import BEHIND, Event, Feed, Listener, Part
from service.jobs import JobState, Move
from service.store import Store, Told
from shared.errors import TooManyRequests, Unauthorized
from support.jobs import TENANT, new_job, with_a_dataset
from support.problems import errors_of
from support.service_in_process import WITHIN_S, Service

HALF = {"fraction": 0.5, "step": 4, "steps": 8, "epoch": 1, "epochs": 2, "eta_s": 0.5}


def read(service: Service, job_id: str, last_event_id: str | None = None, **query: int) -> list[ServerSentEvent]:
    """Everything that the stream tells until it ends."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    parser = EventParser()
    asked = {"params": query, "headers": headers, "timeout": WITHIN_S}
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events", **asked) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [event for chunk in answer.iter_bytes() for event in parser.feed(chunk)]


def finished(service: Service) -> str:
    job_id = str(service.submit()["id"])
    attempt = service.cluster.next_job().tell_metrics(4)
    attempt.tell("progress", **HALF, metrics={"train_loss": 0.25}).tell_metrics(8).end("cancelled")
    service.until(job_id, "cancelled")
    return job_id


def test_a_stream_tells_all_from_the_first_event_to_the_end(service: Service) -> None:
    events = read(service, finished(service))
    assert [event.type for event in events] == ["state", "state", "metrics", "progress", "metrics", "state"]
    assert [event.id for event in events] == [str(number) for number in range(1, 7)]
    told = [json.loads(event.data) for event in events]
    assert [(data["from"], data["to"], data["state"]) for data in told if "to" in data] == [
        (None, "queued", "queued"),
        ("queued", "running", "running"),
        ("running", "cancelled", "cancelled"),
    ]
    assert told[2] == {"step": 4, "epoch": 4, "elapsed_s": 0.1, "train_loss": 0.25}
    assert told[3] == {**HALF, "metrics": {"train_loss": 0.25}}


@pytest.mark.parametrize("seen", range(7))
def test_a_stream_goes_on_after_the_last_event_with_nothing_lost_or_doubled(service: Service, seen: int) -> None:
    job_id = finished(service)
    assert [event.id for event in read(service, job_id, str(seen))] == [str(number) for number in range(seen + 1, 7)]


@pytest.mark.parametrize(("after", "last_event_id", "first"), [(3, None, 4), (3, "5", 6), (5, "3", 6), (6, None, None)])
def test_a_stream_begins_after_the_event_that_is_asked_for_or_the_last_one_if_that_is_later(
    service: Service, after: int, last_event_id: str | None, first: int | None
) -> None:
    told = [event.id for event in read(service, finished(service), last_event_id, after=after)]
    assert told == ([] if first is None else [str(number) for number in range(first, 7)])


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_an_event_id_that_is_none_is_refused(service: Service, last: str) -> None:
    job_id = service.submit()["id"]
    answer = service.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last})
    assert errors_of(answer) == [("Last-Event-ID", last)]


def test_those_who_watch_while_it_happens_are_told_the_same_at_once(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    heard: list[list[ServerSentEvent]] = []
    watchers = [threading.Thread(target=lambda: heard.append(read(service, job_id))) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    for step in range(1, 30):
        attempt.tell_metrics(step)
    attempt.end("cancelled")
    for watcher in watchers:
        watcher.join(WITHIN_S)
    assert heard == [read(service, job_id)] * 3


def test_a_stream_ends_when_its_job_is_deleted_and_when_the_service_stops(service: Service) -> None:
    job_id = finished(service)

    async def after_the_end() -> list[bytes]:
        return [event async for event in service.control.feeds.stream(TENANT, job_id, 6)]

    assert asyncio.run(after_the_end()) == []
    service.http.delete(f"/v1/jobs/{job_id}")
    assert asyncio.run(after_the_end()) == []
    open_job = service.submit()["id"]
    ended = threading.Event()
    watcher = threading.Thread(target=lambda: (read(service, open_job), ended.set()))
    watcher.start()
    service.cluster.next_job()
    service.control.bell.close()
    assert ended.wait(WITHIN_S)
    watcher.join()


def test_events_that_are_there_already_come_in_one_piece(service: Service) -> None:
    """Of many pieces to a client that has gone away, the log would say each time that there is nobody."""
    job_id = finished(service)

    async def all_pieces() -> list[bytes]:
        return [piece async for piece in service.control.feeds.stream(TENANT, job_id, 0)]

    (piece,) = asyncio.run(all_pieces())
    assert piece.count(b"event: ") == 6


def test_a_bell_wakes_only_those_who_listen_for_that_job() -> None:
    async def listen() -> tuple[bool, bool]:
        bell = Bell()
        with bell.listen("one") as one, bell.listen("two") as two:
            threading.Thread(target=bell.ring, args=("one",)).start()
            await asyncio.wait_for(one.wait(), WITHIN_S)
            return one.is_set(), two.is_set()

    assert asyncio.run(listen()) == (True, False)


def test_a_silent_stream_says_that_it_is_alive_more_often_than_proxies_give_up() -> None:
    assert HEARTBEAT_S <= 15


def test_what_happens_elsewhere_is_noticed_too(service: Service) -> None:
    """Another process that writes into the same database rings no bell here."""
    job_id = service.submit()["id"]

    async def watch() -> Any:
        events = Feeds(service.control.store, Bell()).stream(TENANT, job_id, 1)
        return await asyncio.wait_for(anext(events), WITHIN_S)

    assert b'"to": "running"' in asyncio.run(watch())


# ---------------------------------------------------------------- many streams of one job
class Counting(Store):
    """A store that counts how often the events of a job are read, and how often all jobs are looked at together."""

    looks = 0
    polls = 0

    def events_after(self, *args: Any, **options: Any) -> Any:
        self.looks += 1
        return super().events_after(*args, **options)

    def last_events(self, job_ids: Any) -> Any:
        self.polls += 1
        return super().last_events(job_ids)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Counting, Bell, str]]:
    """A store, its bell, and a job that runs."""
    database, bell = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}"), Bell()
    database.migrate()
    with_a_dataset(database, tmp_path)
    store = Counting(database, bell.ring)
    job, _ = store.add(new_job())
    store.move(job.id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "now"))
    yield store, bell, job.id
    database.close()


async def tell(store: Store, job_id: str, step: int) -> None:
    await asyncio.to_thread(store.record, job_id, 1, [Told("metrics", {"step": step}, step)])


def test_a_silent_stream_says_again_and_again_that_it_is_alive(
    running: tuple[Counting, Bell, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.events.CHECK_S", 0.001)
    monkeypatch.setattr("service.events.HEARTBEAT_S", 0.0)
    store, bell, job_id = running

    async def listen() -> None:
        feeds = Feeds(store, bell, math.inf)
        streams = [feeds.stream(TENANT, job_id, after) for after in (2, 2, 10**15)]  # also one that is ahead
        for _ in range(3):
            heard = await asyncio.gather(*(anext(stream) for stream in streams))
            assert heard == [b": still here\n\n"] * 3
        for stream in streams:
            await stream.aclose()

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


def test_a_feed_says_that_it_is_alive_only_after_it_has_been_silent_for_so_long() -> None:
    at_s = [0.0]
    feed = Feed(lambda after: Part.of(after, [], JobState.RUNNING), 2, lambda: at_s[-1])
    listener = Listener(lambda: None)
    feed.listeners.add(listener)
    said = []
    for later_s in (9.9, 10.0, 19.9, 20.0):
        at_s.append(later_s)
        feed.say_still_here(10.0)
        said.append(len(listener.parts))
    asyncio.run(feed._give_in_turns(Part.of(2, [Event(3, b"news", is_last=False)], JobState.RUNNING)))
    at_s.append(29.9)
    feed.say_still_here(10.0)
    assert (said, [part.text(2) for part in listener.parts if part is not None]) == (
        [0, 1, 1, 2],
        [b": still here\n\n", b": still here\n\n", b"news"],
    )


def test_silent_streams_are_told_so_also_while_the_database_keeps_others_waiting(
    running: tuple[Counting, Bell, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.events.CHECK_S", 0.001)
    monkeypatch.setattr("service.events.HEARTBEAT_S", 0.0)
    store, bell, job_id = running
    hangs, may_go_on = threading.Event(), threading.Event()

    def check() -> None:
        if hangs.is_set():
            assert may_go_on.wait(WITHIN_S)

    async def listen() -> None:
        stream = Feeds(store, bell, math.inf).stream(TENANT, job_id, 2, check)
        assert await anext(stream) == b": still here\n\n"
        hangs.set()
        for _ in range(50):
            await anext(stream)
        may_go_on.set()
        await stream.aclose()

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


def test_a_stream_that_begins_far_beyond_what_there_is_leaves_the_others_theirs(
    running: tuple[Counting, Bell, str],
) -> None:
    store, bell, job_id = running

    async def listen() -> None:
        feeds = Feeds(store, bell, math.inf)
        ahead = feeds.stream(TENANT, job_id, 10**15)
        waits = asyncio.ensure_future(anext(ahead))
        while not feeds._feeds:
            await asyncio.sleep(0.001)
        other = feeds.stream(TENANT, job_id, 2)
        heard = asyncio.ensure_future(anext(other))
        while sum(len(feed.listeners) for feed in feeds._feeds.values()) < 2:
            await asyncio.sleep(0.001)
        looks = store.looks
        await tell(store, job_id, 1)
        assert await heard == b'id: 3\nevent: metrics\ndata: {"step": 1}\n\n'
        assert store.looks <= looks + 2
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await other.aclose()

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


def test_what_is_new_is_read_once_for_all_streams_of_a_job(running: tuple[Counting, Bell, str]) -> None:
    store, bell, job_id = running

    async def listen() -> None:
        feeds = Feeds(store, bell)
        streams = [feeds.stream(TENANT, job_id, 2) for _ in range(50)]
        nexts = [asyncio.ensure_future(anext(stream)) for stream in streams]
        while store.looks < len(streams):  # what there was, each reads for itself
            await asyncio.sleep(0.001)
        await tell(store, job_id, 1)
        heard = await asyncio.gather(*nexts)
        assert store.looks <= len(streams) + 5
        assert (set(heard), feeds.streams) == ({b'id: 3\nevent: metrics\ndata: {"step": 1}\n\n'}, len(streams))
        for stream in streams:
            await stream.aclose()
        assert feeds.streams == 0

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


@pytest.mark.parametrize("polls_s", [0.0, math.inf])
def test_jobs_of_which_there_is_nothing_new_cost_one_look_for_all_and_a_key_one_check(
    running: tuple[Counting, Bell, str], polls_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where there are no other control planes, which ring no bell here, not even that."""
    monkeypatch.setattr("service.events.CHECK_S", 0.001)
    store, bell, job_id = running
    job_ids = [job_id, *(store.add(new_job())[0].id for _ in range(9))]
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1

    async def listen() -> None:
        feeds = Feeds(store, bell, polls_s)
        streams = [feeds.stream(TENANT, each, 2, check) for each in job_ids]
        nexts = [asyncio.ensure_future(anext(stream)) for stream in streams]
        while checks < len(streams) + 20 or (polls_s == 0 and store.polls < 20):
            await asyncio.sleep(0.001)
        # Each stream, its feed, and the first ring; a watch's checks are made before its poll.
        assert store.looks <= 3 * len(streams)
        assert (store.polls == 0) if polls_s else (checks <= len(streams) + store.polls + 1)
        for each in nexts:
            each.cancel()
        await asyncio.gather(*nexts, return_exceptions=True)

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


def test_a_feed_and_the_watch_end_with_the_last_stream(running: tuple[Counting, Bell, str]) -> None:
    store, bell, job_id = running

    async def listen() -> None:
        feeds = Feeds(store, bell)
        stream = feeds.stream(TENANT, job_id, 2)
        first = asyncio.ensure_future(anext(stream))
        while not feeds._feeds:
            await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.gather(*feeds._tasks)
        assert not (feeds._feeds or feeds._watched or feeds._open)

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


def test_few_streams_of_a_tenant_read_at_once_what_there_is_already_and_the_others_wait_without_a_thread(
    running: tuple[Counting, Bell, str],
) -> None:
    store, bell, job_id = running
    entered, may_go = threading.Semaphore(0), threading.Event()

    class Slow(Store):
        def events_after(self, *args: Any, **options: Any) -> Any:
            entered.release()
            may_go.wait(WITHIN_S)
            return store.events_after(*args, **options)

    async def listen() -> None:
        feeds = Feeds(Slow(store._database), bell)
        streams = [feeds.stream(TENANT, job_id, 0) for _ in range(20)]
        nexts = [asyncio.ensure_future(anext(stream)) for stream in streams]
        for _ in range(AT_ONCE):
            await asyncio.to_thread(entered.acquire)
        assert feeds._turns._here.total() == len(streams), "each has a turn, or waits for one"
        assert not entered.acquire(blocking=False)
        may_go.set()
        assert len({*await asyncio.gather(*nexts)}) == 1
        for stream in streams:
            await stream.aclose()

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


def test_a_tenant_has_so_many_streams_open_and_others_theirs(running: tuple[Counting, Bell, str]) -> None:
    store, bell, job_id = running

    async def listen() -> None:
        feeds = Feeds(store, bell, most=1)
        feeds.check_room(TENANT)
        stream = feeds.stream(TENANT, job_id, 0)
        await anext(stream)
        with pytest.raises(TooManyRequests, match="1 event streams of the tenant are open already; expected fewer"):
            feeds.check_room(TENANT)
        feeds.check_room("other")
        await stream.aclose()
        feeds.check_room(TENANT)

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


@pytest.mark.parametrize("what", ["events", "logs/stream"])
def test_a_stream_too_many_is_told_when_to_come_again(service: Service, what: str) -> None:
    job_id = service.submit()["id"]
    service.control.feeds._most = 0
    refused = service.http.get(f"/v1/jobs/{job_id}/{what}")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")


def test_a_thousand_streams_of_a_tenant_are_not_too_many() -> None:
    assert MOST_STREAMS >= 2_000


def test_a_stream_that_takes_nothing_for_long_holds_up_nobody_and_loses_nothing(
    running: tuple[Counting, Bell, str],
) -> None:
    store, bell, job_id = running
    steps = range(1, 2 * BEHIND)

    async def listen() -> None:
        feeds = Feeds(store, bell)
        keen, slow = feeds.stream(TENANT, job_id, 0), feeds.stream(TENANT, job_id, 0)
        await anext(keen)
        heard = await anext(slow)
        first = asyncio.ensure_future(anext(slow))
        for step in steps:
            await tell(store, job_id, step)
            assert f'"step": {step}}}'.encode() in await anext(keen)
        heard += await first
        await asyncio.to_thread(store.move, job_id, 1, JobState.RUNNING, lambda _: Move(JobState.CANCELLED, "enough"))
        heard += b"".join([text async for text in slow])
        parser = EventParser()
        assert [event.id for event in parser.feed(heard)] == [str(seq) for seq in range(1, len(steps) + 4)]

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))


@pytest.mark.parametrize("takes_of_8", [0, 4, 8])
def test_what_is_sent_as_it_is_told_comes_once_and_in_order_however_slow_the_client_is(
    running: tuple[Counting, Bell, str], takes_of_8: int
) -> None:
    store, bell, job_id = running
    chance = random.Random(5)
    heard: list[bytes] = []
    sent = 0

    def send(text: bytes) -> bool:
        nonlocal sent
        if chance.randrange(8) >= takes_of_8:
            return False
        sent += 1
        heard.append(text)
        return True

    async def listen() -> None:
        feeds = Feeds(store, bell)

        async def watch() -> None:
            async for text in feeds.stream(TENANT, job_id, 0, send=send):
                heard.append(text)
                await asyncio.sleep(chance.choice([0.0, 0.0, 0.01]))  # until the client has taken it

        watching = asyncio.ensure_future(watch())
        while not feeds._feeds:
            await asyncio.sleep(0.001)
        for step in range(40):
            await tell(store, job_id, step)
        await asyncio.to_thread(store.move, job_id, 1, JobState.RUNNING, lambda _: Move(JobState.CANCELLED, "enough"))
        await watching

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))
    assert [event.id for event in EventParser().feed(b"".join(heard))] == [str(seq) for seq in range(1, 44)]
    assert (sent > 0) == (takes_of_8 > 0)


def test_thousands_are_told_in_turns_between_which_others_go_on_and_some_leave() -> None:
    told: list[Listener] = []

    async def listen() -> None:
        feed = Feed(lambda after: Part.of(after, [], JobState.RUNNING), 2)

        def listener() -> Listener:
            made = Listener(lambda: None, 2, lambda text: text != b"news" or told.append(made) is None)
            feed.listeners.add(made)
            return made

        listeners = [listener() for _ in range(1_000)]
        waits = [asyncio.ensure_future(each.take()) for each in listeners]
        await asyncio.sleep(0)
        news = Part.of(2, [Event(3, b"news", is_last=False)], JobState.RUNNING)
        giving = asyncio.ensure_future(feed._give_in_turns(news))
        seen: list[int] = []
        while not giving.done():
            await asyncio.sleep(0)
            seen.append(len(told))
            feed.say_still_here(0.0)  # of which nobody takes that it has the news
            if len(seen) == 3:
                leaves = next(each for each in listeners if each not in told)
                feed.listeners.remove(leaves)
        for each in waits:
            each.cancel()
        assert len(set(seen)) >= 1_000 // TOLD_AT_ONCE
        assert {each for each in listeners if each not in told} == {leaves}
        assert {each.after for each in told} == {3}

    asyncio.run(listen())


def test_a_part_that_a_stream_has_already_is_not_sent_to_it() -> None:
    async def listen() -> list[bytes]:
        heard: list[bytes] = []
        listener = Listener(lambda: None, 5, lambda text: heard.append(text) is None)
        waits = asyncio.ensure_future(listener.take())
        await asyncio.sleep(0)
        for after, seqs in ((2, (3, 4, 5)), (2, (5, 6)), (6, (7,))):
            events = [Event(seq, f"{seq} ".encode(), is_last=False) for seq in seqs]
            listener.give(Part.of(after, events, JobState.RUNNING))
        listener.give(None)
        assert await waits is None
        assert listener.after == 7
        return heard

    assert asyncio.run(listen()) == [b"6 ", b"7 "]


@pytest.mark.parametrize(("version", "past_the_layers"), [("1.0", False), ("1.1", True)])
def test_streams_are_sent_what_is_new_past_all_layers_to_clients_that_know_chunks(
    service: Service, monkeypatch: pytest.MonkeyPatch, version: str, past_the_layers: bool
) -> None:
    outcomes: list[bool] = []
    by_itself = Connection.send_chunk

    def send_chunk(connection: Connection, cycle: Any, data: bytes) -> bool:
        outcomes.append(by_itself(connection, cycle, data))
        return outcomes[-1]

    monkeypatch.setattr(Connection, "send_chunk", send_chunk)
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    url = service.http.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=WITHIN_S) as client:
        head = f"GET /v1/jobs/{job_id}/events HTTP/{version}\r\nHost: {url.host}\r\nAuthorization: Bearer {service.key}"
        client.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        answer = client.recv(1 << 16)
        for step in (4, 8):
            attempt.tell_metrics(step)
            while f'"step": {step}'.encode() not in answer:
                answer += (more := client.recv(1 << 16))
                assert more, answer
        attempt.end("cancelled")
        while more := client.recv(1 << 16):
            answer += more
    body = answer.partition(b"\r\n\r\n")[2]
    if version == "1.1":
        body = b"".join(unchunked(body))
    assert [event.id for event in EventParser().feed(body)] == ["1", "2", "3", "4", "5"]
    assert any(outcomes) == past_the_layers


def unchunked(body: bytes) -> Iterator[bytes]:
    """The parts of a body that came in chunks, all of which are whole."""
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        chunk, end, body = rest[:length], rest[length : length + 2], rest[length + 2 :]
        assert (len(chunk), end) == (length, b"\r\n")
        if not length:
            assert body == b""
            return
        yield chunk


def test_of_all_streams_of_a_job_only_those_end_whose_key_is_revoked(running: tuple[Counting, Bell, str]) -> None:
    store, bell, job_id = running
    revoked = False

    def check() -> None:
        if revoked:
            raise Unauthorized("revoked")

    async def listen() -> None:
        nonlocal revoked
        feeds = Feeds(store, bell)
        theirs, ours = feeds.stream(TENANT, job_id, 2, check), feeds.stream(TENANT, job_id, 2)
        nexts = [asyncio.ensure_future(anext(stream, None)) for stream in (theirs, ours)]
        await tell(store, job_id, 1)
        assert None not in await asyncio.gather(*nexts)
        revoked = True
        nexts = [asyncio.ensure_future(anext(stream, None)) for stream in (theirs, ours)]
        assert await nexts[0] is None
        await tell(store, job_id, 2)
        assert await nexts[1] is not None
        await ours.aclose()

    asyncio.run(asyncio.wait_for(listen(), WITHIN_S))
