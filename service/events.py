"""A job's events as they happen: server-sent events, as the WHATWG HTML standard, section 9.2, writes them.

Every event is in the database before anybody is told of it, so a stream is a loop of "what is new there?", woken by a
bell when this process wrote something, and by a slow clock in case another one did. A database that is away for a while
only makes it wait.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from fastapi.concurrency import run_in_threadpool

from service.database import AWAY
from service.jobs import JobState
from service.store import Store
from shared.errors import NotFound, Unauthorized

__all__ = ["Bell", "stream"]

POLL_S = 0.5  # what another control plane wrote is seen as late as that
HEARTBEAT_S = 10.0
BATCH = 500  # events that are read at once


class Bell:
    """Wakes those on the event loop who listen for a job, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._closed = False

    def ring(self, job_id: str) -> None:
        """Something was written about the job."""
        with self._lock:
            self._wake(self._listeners.get(job_id, ()))

    def close(self) -> None:
        """Wakes everybody for the last time: the service ends."""
        with self._lock:
            self._closed = True
            for listeners in self._listeners.values():
                self._wake(listeners)

    @property
    def closed(self) -> bool:
        """Whether the service ends."""
        return self._closed

    @property
    def listeners(self) -> int:
        """How many listen now."""
        with self._lock:
            return sum(map(len, self._listeners.values()))

    @contextmanager
    def listen(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event, for this thread's event loop, that is set whenever the bell rings for the job."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listeners.setdefault(job_id, set()).add(listener)
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listeners[job_id].discard(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

    @staticmethod
    def _wake(listeners: Any) -> None:
        for loop, event in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class Told(NamedTuple):
    """One event of a stream."""

    seq: int
    type: str
    data: dict[str, Any]
    is_last: bool


async def stream(
    store: Store,
    bell: Bell,
    tenant: str,
    job_id: str,
    after: int,
    check: Callable[[], object] = lambda: None,
    what: Literal["events", "log"] = "events",
) -> AsyncIterator[bytes]:
    """The job's events, or the lines of its log, with a number above `after`, until the one of its end; comments keep
    the connection alive.

    `check` is asked again and again whether who listens still may, and raises Unauthorized to end the stream.
    """

    def look() -> tuple[Sequence[Told], JobState]:
        check()
        return _lines(store, tenant, job_id, after) if what == "log" else _events(store, tenant, job_id, after)

    spoke_at = time.monotonic()
    with bell.listen(job_id) as rang:
        while not bell.closed:
            rang.clear()
            try:
                rows, state = await run_in_threadpool(look)
            except (NotFound, Unauthorized):  # deleted while we were listening; a key revoked, a session over
                return
            except AWAY:
                rows, state = (), JobState.RUNNING  # not known to have ended
            if rows:  # in one piece: of many to a client that has gone away, the log would say each time that it has
                after, spoke_at = rows[-1].seq, time.monotonic()
                yield b"".join(_event(row.seq, row.type, row.data) for row in rows)
                if rows[-1].is_last:
                    return
            if len(rows) == BATCH:
                continue
            if state.is_terminal:
                return
            try:
                await asyncio.wait_for(rang.wait(), POLL_S)
            except TimeoutError:
                if time.monotonic() - spoke_at >= HEARTBEAT_S:
                    spoke_at = time.monotonic()
                    yield b": still here\n\n"


def _events(store: Store, tenant: str, job_id: str, after: int) -> tuple[Sequence[Told], JobState]:
    rows, state = store.events_after(tenant, job_id, after, BATCH)
    ends = [row.type == "state" and JobState(row.data["to"]).is_terminal for row in rows]
    return [Told(row.seq, row.type, row.data, is_last) for row, is_last in zip(rows, ends, strict=True)], state


def _lines(store: Store, tenant: str, job_id: str, after: int) -> tuple[Sequence[Told], JobState]:
    lines, state = store.log_after(tenant, job_id, after, BATCH)
    return [Told(line.seq, "log", line.json, line.is_last) for line in lines], state


def _event(seq: int, kind: str, data: dict[str, Any]) -> bytes:
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
