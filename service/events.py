"""A job's events as they happen: server-sent events, as the WHATWG HTML standard, section 9.2, writes them.

Every event is in the database before anybody is told of it. A stream first reads what there is already, and then joins
the feed of its job: what is new is read once for all streams of a job, and written out once, when the bell rings as
this process wrote something, and by a slow clock in case another one did. A database that is away for a while only
makes them wait.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Hashable, Sequence
from typing import Any, Literal

from fastapi.concurrency import run_in_threadpool

from service.bell import Bell
from service.database import AWAY
from service.feed import BATCH, POLL_S, Check, Event, Feed, Listener, Part
from service.jobs import JobState
from service.store import Store
from shared.errors import NotFound, Unauthorized

__all__ = ["Feeds"]

HEARTBEAT_S = 10.0
TAKES_S = 0.0006  # to send one stream what is new, about; so long all wait together before the next is read …
RESTS_S = 0.6  # … or this at most

log = logging.getLogger("chainrule")

What = Literal["events", "log"]


class Feeds:
    """The event streams of one control plane."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store, self._bell = store, bell
        self._feeds: dict[Hashable, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.streams = 0
        """How many are open now."""

    async def stream(
        self, tenant: str, job_id: str, after: int, check: Check = lambda: None, what: What = "events"
    ) -> AsyncIterator[bytes]:
        """The job's events, or the lines of its log, with a number above `after`, until the one of its end; comments
        keep the connection alive."""

        def read(after: int) -> Part:
            look = _lines if what == "log" else _events
            return Part.of(after, *look(self._store, tenant, job_id, after))

        def read_if_allowed() -> Part:
            check()
            return read(after)

        key = asyncio.get_running_loop(), tenant, job_id, what
        self.streams += 1
        try:
            while not self._bell.closed:
                try:
                    part = await run_in_threadpool(read_if_allowed)
                except (NotFound, Unauthorized):
                    return
                except AWAY:
                    await asyncio.sleep(POLL_S)
                    continue
                if part.events:
                    yield part.whole
                if part.ends:
                    return
                after = part.last
                feed = self._feeds.get(key)
                if len(part.events) == BATCH or (feed is not None and after < feed.last):
                    continue  # there is more already
                listener = Listener(check)
                self._join(key, feed or Feed(read, after), listener, job_id)
                try:
                    while listener.parts or not listener.is_behind:
                        try:
                            told = await listener.take(HEARTBEAT_S)
                        except TimeoutError:
                            yield b": still here\n\n"
                            continue
                        if told is None:
                            break
                        text = told.text(after)
                        if text:
                            yield text
                        if told.ends:
                            return
                        after = max(after, told.last)
                finally:
                    listener.leave()
        finally:
            self.streams -= 1

    def _join(self, key: Hashable, feed: Feed, listener: Listener, job_id: str) -> None:
        """Has it listen; starts a feed that is new."""
        listener.join(feed.listeners)
        if key in self._feeds:
            return
        self._feeds[key] = feed
        task = asyncio.create_task(self._run(key, feed, job_id))
        self._tasks.add(task)  # the event loop itself would not keep it alive
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: Hashable, feed: Feed, job_id: str) -> None:
        try:
            await feed.run(self._bell, job_id, lambda: min(RESTS_S, self.streams * TAKES_S))
        except Exception:
            log.exception("the event streams of %s broke off", job_id)
        finally:
            del self._feeds[key]
            feed.end()


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
