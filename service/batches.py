"""What is wanted done at the same time is done together: one commit, one flush to disk, for all of it."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Batches"]

RESTS_S = 5.0  # for a thread that rests costs next to nothing, and to wait for a new one takes the event loop's time

Item = TypeVar("Item")
Result = TypeVar("Result")


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="batches", daemon=True).start()


class _Waiting(NamedTuple, Generic[Item, Result]):
    """An item, and who waits for what comes of it."""

    item: Item
    loop: asyncio.AbstractEventLoop
    outcome: "asyncio.Future[Result]"


class Batches(Generic[Item, Result]):
    """Batches of items. `do` is called with one at a time, of as many items as are `most` together by `size`, or one
    that is so by itself, and returns for each, in their order, its result or the exception to be raised; what it raises
    itself is raised for all of them. `start` has a function called in a thread of its own.

    Nobody waits for others to come: a batch is what has gathered while the one before was done. One thread does them
    all, and ends when nothing has come for `rests_s`: however many wait, they cost no thread, and those that come now
    and then do not each wait for one to start. All of a batch are told at once: each time that another thread is woken,
    two cores have to agree on whose turn it is to run Python.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        most: int,
        start: Callable[[Callable[[], None]], None] = _in_a_thread,
        size: Callable[[Item], int] = lambda item: 1,
        rests_s: float = RESTS_S,
    ) -> None:
        self._do, self._most, self._start, self._size, self._rests_s = do, most, start, size, rests_s
        self._came = threading.Condition()
        self._pending: deque[_Waiting[Item, Result]] = deque()
        self._has_thread = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._pending)

    async def add(self, item: Item) -> Result:
        """Has an item done by another thread, and returns its result."""
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Item, Result] = _Waiting(item, loop, loop.create_future())
        with self._came:
            self._pending.append(waiting)
            begins, self._has_thread = not self._has_thread, True
            self._came.notify()
        if begins:
            try:
                self._start(self._work)
            except RuntimeError as error:  # there can be no other thread now; there may be when the next item comes
                self._fail(error)
        return await waiting.outcome

    def _work(self) -> None:
        while batch := self._next():
            outcomes: Sequence[Result | Exception]
            try:
                outcomes = self._do([waiting.item for waiting in batch])
            except Exception as error:  # noqa: BLE001  (raised by those who wait)
                outcomes = [error] * len(batch)
            _tell(batch, outcomes)
            del batch, outcomes  # plans of megabytes, perhaps: they are not to be kept while it rests

    def _fail(self, error: Exception) -> None:
        with self._came:
            pending, self._pending = self._pending, deque()
            self._has_thread = False
        _tell(pending, [error] * len(pending))

    def _next(self) -> list[_Waiting[Item, Result]]:
        """The next batch; none where nothing came for long."""
        with self._came:
            while not (batch := self._gathered()):
                if not self._came.wait(self._rests_s) and not self._pending:
                    self._has_thread = False
                    return []
        return batch

    def _gathered(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        room = self._most
        while self._pending and (not batch or self._size(self._pending[0].item) <= room):
            waiting = self._pending.popleft()
            if not waiting.outcome.cancelled():  # else nobody waits for it any more
                batch.append(waiting)
                room -= self._size(waiting.item)
        return batch


def _tell(batch: Iterable[_Waiting[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
    """Has each event loop woken once."""
    told: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Result], Result | Exception]]] = {}
    for waiting, outcome in zip(batch, outcomes, strict=True):
        told.setdefault(waiting.loop, []).append((waiting.outcome, outcome))
    for loop, its in told.items():
        try:
            loop.call_soon_threadsafe(_settle, its)
        except RuntimeError:
            if not loop.is_closed():  # as then nobody waits there any more
                raise


def _settle(told: Iterable[tuple["asyncio.Future[Result]", Result | Exception]]) -> None:
    for future, outcome in told:
        if future.done():  # given up meanwhile
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
