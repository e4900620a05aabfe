"""A job's events as they happen: server-sent events, as the WHATWG HTML standard, section 9.2, writes them.

Every event is in the database before anybody is told of it. A stream first reads what there is already, and then joins
the feed of its job: what is new is read once for all streams of a job, and written out once, when the bell rings. It
rings as this process wrote something; one watch over all jobs that are followed rings it where another one did, and
ends the streams of those who may no longer listen. So a silent job costs nothing, however many are followed. A database
that is away for a while only makes them wait.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence, Set
from typing import Any, Literal, NamedTuple

from fastapi.concurrency import run_in_threadpool

from service.bell import Bell
from service.concurrency import ConcurrencyLimit
from service.database import AWAY
from service.feed import BATCH, TRY_AGAIN_S, Check, Event, Feed, Listener, Part, Send, sends_nothing
from service.jobs import JobState
from service.store import Store
from shared.errors import NotFound, TooManyRequests, Unauthorized

__all__ = ["ALONE_POLL_S", "POLL_S", "Feeds", "What"]

HEARTBEAT_S = 10.0
CHECK_S = 0.5  # a stream goes on as long as that once its key was found to be revoked
POLL_S = 0.5  # what another control plane wrote is seen as late as that
ALONE_POLL_S = 5.0  # where there is no other one, which is but to be sure
MOST_STREAMS = 2_000  # of a tenant at once: each is a connection, and some kB
REST_A_STREAM_S = 0.0005  # before the next is read: some twenty times what it takes to send a stream what is new …
MOST_REST_S = 0.5  # … and this at most

log = logging.getLogger("chainrule")

What = Literal["events", "log"]


class Followed(NamedTuple):
    """What a feed is of."""

    loop: asyncio.AbstractEventLoop
    tenant: str
    job_id: str
    what: What


class Feeds:
    """The event streams of one control plane. What others wrote is looked for every `polls_s`."""

    def __init__(self, store: Store, bell: Bell, polls_s: float = POLL_S, most: int = MOST_STREAMS) -> None:
        self._store, self._bell, self._polls_s, self._most = store, bell, polls_s, most
        self._feeds: dict[Followed, Feed] = {}
        self._watched: set[asyncio.AbstractEventLoop] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()
        self._turns = ConcurrencyLimit(may_wait=None)  # to read what there is already, which streams do one by one
        self.streams = 0
        """How many are open now."""

    def check_room(self, tenant: str) -> None:
        """Raises TooManyRequests where a tenant has as many streams open as it may."""
        if self._open[tenant] >= self._most:
            raise TooManyRequests(f"{self._most:,} event streams of the tenant are open already; expected fewer")

    async def stream(
        self,
        tenant: str,
        job_id: str,
        after: int,
        check: Check = lambda: None,
        what: What = "events",
        send: Send = sends_nothing,
    ) -> AsyncIterator[bytes]:
        """The job's events, or the lines of its log, with a number above `after`, until the one of its end; comments
        keep the connection alive. What `send` has sent meanwhile is not yielded any more."""

        def read(after: int) -> Part:
            found = _lines if what == "log" else _events
            return Part.of(after, *found(self._store, tenant, job_id, after))

        def look() -> tuple[Part, int]:
            """What there is, and where a feed begins: a stream may begin far beyond that, and another one need not."""
            check()
            part = read(after)
            return part, part.last if part.events else min(after, self._store.last_event(tenant, job_id))

        key = Followed(asyncio.get_running_loop(), tenant, job_id, what)
        self.streams += 1
        self._open[tenant] += 1
        try:
            while not self._bell.closed:
                try:
                    async with self._turns.of((key.loop, tenant)):
                        part, newest = await run_in_threadpool(look)
                except (NotFound, Unauthorized):
                    return
                except AWAY:
                    await asyncio.sleep(TRY_AGAIN_S)
                    continue
                if part.events:
                    yield part.whole
                if part.ends:
                    return
                after = part.last
                feed = self._feeds.get(key)
                if len(part.events) == BATCH or (feed is not None and after < feed.last):
                    continue  # there is more already
                feed, listener = feed or Feed(read, newest), Listener(check, after, send)
                self._join(key, feed, listener)
                try:
                    while listener.parts or not listener.is_behind:
                        told = await listener.take()
                        if told is None:
                            break
                        text = told.text(listener.after)
                        if text:
                            yield text
                        if told.ends:
                            return
                        listener.after = max(listener.after, told.last)
                    after = listener.after
                finally:
                    feed.listeners.remove(listener)
                    if not feed.listeners:
                        self._bell.ring(job_id)  # so that the feed ends
        finally:
            self.streams -= 1
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    def _join(self, key: Followed, feed: Feed, listener: Listener) -> None:
        """Has it listen; starts a feed that is new, and the watch with the first."""
        feed.listeners.add(listener)
        if key in self._feeds:
            return
        self._feeds[key] = feed
        self._start(self._run(key, feed))
        if key.loop not in self._watched:
            self._watched.add(key.loop)
            self._start(self._watch(key.loop))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)  # the event loop itself would not keep it alive
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: Followed, feed: Feed) -> None:
        try:
            await feed.run(self._bell, key.job_id, lambda: min(MOST_REST_S, self.streams * REST_A_STREAM_S))
        except Exception:
            log.exception("the event streams of %s broke off", key.job_id)
        finally:
            del self._feeds[key]
            feed.end()

    # ------------------------------------------------------------ all of them
    async def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks after the feeds of an event loop, as long as there are any."""
        seen: dict[str, int] = {}
        polled_at = time.monotonic()
        beats = asyncio.create_task(self._beat(loop))
        try:
            while feeds := self._feeds_of(loop):
                await asyncio.sleep(CHECK_S)
                try:
                    await self._end_refused(feeds.values())
                    if time.monotonic() - polled_at >= self._polls_s:
                        polled_at = time.monotonic()
                        seen = await self._ring_for_others({key.job_id for key in feeds}, seen)
                except AWAY:
                    continue
                except Exception:
                    log.exception("event streams could not be looked after")
        finally:
            beats.cancel()
            self._watched.discard(loop)

    async def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has silent streams say that they are alive, whatever else is waited for. A timer for each stream would cost a
        sixth of what an event does."""
        while True:
            await asyncio.sleep(CHECK_S)
            for feed in self._feeds_of(loop).values():
                feed.say_still_here(HEARTBEAT_S)

    def _feeds_of(self, loop: asyncio.AbstractEventLoop) -> dict[Followed, Feed]:
        return {key: feed for key, feed in dict(self._feeds).items() if key.loop is loop}

    async def _end_refused(self, feeds: Iterable[Feed]) -> None:
        """Ends the streams of those who may no longer listen, each of whom is asked for once. Raises one of AWAY."""
        followed = [feed.listeners for feed in feeds]
        checks = {check for listeners in followed for check in listeners.checks}
        refused = await run_in_threadpool(lambda: [check for check in checks if not _passes(check)])
        for listeners in followed:
            for check in refused:
                listeners.end(check)

    async def _ring_for_others(self, job_ids: Set[str], seen: Mapping[str, int]) -> dict[str, int]:
        """Rings for each job of which there is another event than was `seen`, or that is gone; tells what there is now.
        Raises one of AWAY."""
        now = await run_in_threadpool(self._store.last_events, job_ids)
        for job_id in job_ids:
            if job_id not in now or now[job_id] != seen.get(job_id):
                self._bell.ring(job_id)
        return now


def _passes(check: Check) -> bool:
    try:
        check()
    except Unauthorized:  # a key revoked, a session over
        return False
    return True


def _events(store: Store, tenant: str, job_id: str, after: int) -> tuple[Sequence[Event], JobState]:
    rows, state = store.events_after(tenant, job_id, after, BATCH)
    ends = [row.type == "state" and JobState(row.data["to"]).is_terminal for row in rows]
    return [_event(row.seq, row.type, row.data, is_last) for row, is_last in zip(rows, ends, strict=True)], state


def _lines(store: Store, tenant: str, job_id: str, after: int) -> tuple[Sequence[Event], JobState]:
    lines, state = store.log_after(tenant, job_id, after, BATCH)
    return [_event(line.seq, "log", line.json, line.is_last) for line in lines], state


def _event(seq: int, kind: str, data: dict[str, Any], is_last: bool) -> Event:
    text = f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
    return Event(seq, text.encode(), is_last)
