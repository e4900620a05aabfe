"""What is new of one job: read once for all streams of it, when its bell rings, and given to each."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from fastapi.concurrency import run_in_threadpool

from service.bell import Bell
from service.database import AWAY
from service.jobs import JobState
from shared.errors import NotFound

__all__ = ["BATCH", "TRY_AGAIN_S", "Check", "Event", "Feed", "Listener", "Part", "Send", "sends_nothing"]

TRY_AGAIN_S = 0.5  # after a look at a database that was away
BATCH = 500  # events that are read at once
STILL_HERE = b": still here\n\n"  # which browsers and clients leave out
AT_ONCE = 100  # streams that are given a part before others have the event loop: some milliseconds
BEHIND = 20  # parts that a stream may leave untaken, before it is to read for itself again

Check = Callable[[], object]
"""Asked again and again whether who listens still may; raises Unauthorized to end the stream. Equal ones ask once."""

Send = Callable[[bytes], bool]
"""Sends what comes next of a stream at once; False where it could not."""


def sends_nothing(_text: bytes) -> bool:
    """Of a stream that has no other way than its own turn."""
    return False


class Event(NamedTuple):
    """One event, as it is sent."""

    seq: int
    text: bytes
    is_last: bool


class Part(NamedTuple):
    """What came after the event of a number; `ends` the stream, as nothing more will come."""

    after: int
    events: Sequence[Event]
    ends: bool
    whole: bytes

    @classmethod
    def of(cls, after: int, events: Sequence[Event], state: JobState) -> "Part":
        ends = any(event.is_last for event in events) or (len(events) < BATCH and state.is_terminal)
        return cls(after, events, ends, b"".join(event.text for event in events))

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.events[-1].seq if self.events else self.after

    def text(self, after: int) -> bytes:
        """What of it came after a number, which is not below its own."""
        if after == self.after or not self.events:
            return self.whole
        return b"".join(event.text for event in self.events if event.seq > after)


class Listener:
    """One stream that has joined a feed, and got all up to the event `after`.

    What is new is sent as it is given, where `send` can and nothing before it is still to be sent: to wake a stream for
    it would take four times as long. Else it waits until the stream takes it.
    """

    def __init__(self, check: Check, after: int = 0, send: Send = sends_nothing) -> None:
        self.check, self.after = check, after
        self.parts: deque[Part | None] = deque()
        """What has not been taken yet; None: look for yourself, as the feed ends or is not for you any more."""
        self.is_behind = False
        """Whether it has left so much that it is given nothing more."""
        self._send = send
        self._news: asyncio.Future[None] | None = None

    def give(self, part: Part | None) -> None:
        """Sends a part, or adds it; None: nothing will come any more."""
        waits = self._news is not None and not self._news.done()
        if waits and part is not None and not part.ends and self._has_sent(part):
            return
        self.is_behind = self.is_behind or len(self.parts) >= BEHIND
        if part is None or not self.is_behind:
            self.parts.append(part)
        if self._news is not None and waits:
            self._news.set_result(None)

    def _has_sent(self, part: Part) -> bool:
        text = part.text(self.after)
        if text and not self._send(text):
            return False
        self.after = max(self.after, part.last)
        return True

    async def take(self) -> Part | None:
        """The next part, as soon as there is one that has not been sent."""
        if not self.parts:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return self.parts.popleft()


class Listeners:
    """The streams that have joined a feed, by who listens: thousands may belong to one key, which is checked twice a
    second."""

    def __init__(self) -> None:
        self._by_check: dict[Check, set[Listener]] = {}

    def __len__(self) -> int:
        return sum(len(alike) for alike in self._by_check.values())

    def __contains__(self, listener: object) -> bool:
        return isinstance(listener, Listener) and listener in self._by_check.get(listener.check, ())

    def __iter__(self) -> Iterator[Listener]:
        for alike in self._by_check.values():
            yield from alike

    def add(self, listener: Listener) -> None:
        """Has one join."""
        self._by_check.setdefault(listener.check, set()).add(listener)

    def remove(self, listener: Listener) -> None:
        """Has one that has joined leave."""
        alike = self._by_check[listener.check]
        alike.remove(listener)
        if not alike:
            del self._by_check[listener.check]

    @property
    def checks(self) -> Set[Check]:
        """What is asked whether they still may."""
        return self._by_check.keys()

    def end(self, check: Check) -> None:
        """Tells those that it refuses to look for themselves, which ends them."""
        for listener in self._by_check.get(check, ()):
            listener.give(None)


class Feed:
    """What is new of one job, for all streams of it on one event loop."""

    def __init__(
        self, read: Callable[[int], Part], after: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._monotonic = read, monotonic
        self.last = after
        """The number of the last event that was given to those who listen."""
        self.listeners = Listeners()
        self._told_at = self._monotonic()

    async def run(self, bell: Bell, job_id: str, rests_s: Callable[[], float]) -> None:
        """Gives news to those who listen, until there will be none any more, or nobody listens when the bell rings."""
        with bell.listen(job_id) as rang:
            while self.listeners and not bell.closed:
                rang.clear()
                try:
                    part: Part | None = await run_in_threadpool(self._read, self.last)
                except NotFound:  # deleted while we were listening
                    part = None
                except AWAY:
                    await asyncio.sleep(TRY_AGAIN_S)
                    continue
                if part is None or part.events or part.ends:
                    await self._give_in_turns(part)
                    if part is None or part.ends:
                        return
                    await asyncio.sleep(rests_s())
                if len(part.events) < BATCH:
                    await rang.wait()

    def end(self) -> None:
        """Tells all to look for themselves."""
        for listener in self.listeners:
            listener.give(None)

    def say_still_here(self, silent_s: float) -> None:
        """Gives a comment to those who listen, if nothing has been given for so long."""
        if self._monotonic() >= self._told_at + silent_s:
            self._told_at = self._monotonic()
            for listener in self.listeners:
                listener.give(Part(0, (), ends=False, whole=STILL_HERE))

    async def _give_in_turns(self, part: Part | None) -> None:
        """Gives a part to all who listen now; between some and others whatever else waits for the event loop goes on,
        and some may leave."""
        self._told_at = self._monotonic()
        if part is not None:
            self.last = part.last
        for number, listener in enumerate(tuple(self.listeners), start=1):
            if listener in self.listeners:
                listener.give(part)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
