"""What is wanted done at the same time is done together: one commit, one flush to disk, for all of it."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="batches", daemon=True).start()


class Batches(Generic[Item, Result]):
    """Batches of items. `do` is called with one at a time, of as many items as are `most` together by `size`, or one
    that is so by itself, and returns for each, in their order, its result or the exception to be raised; what it raises
    itself is raised for all of them. `start` has a function called in a thread of its own.

    Nobody waits for others to come: a batch is what has gathered while the one before was done. One thread does them
    all, and ends when there is nothing more to do: however many wait, they cost no thread.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        most: int,
        start: Callable[[Callable[[], None]], None] = _in_a_thread,
        size: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self._do, self._most, self._start, self._size = do, most, start, size
        self._lock = threading.Lock()
        self._pending: deque[tuple[Item, Future[Result]]] = deque()
        self._is_at_work = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._pending)

    def add(self, item: Item) -> Result:
        """Has an item done, by this thread where no other is at work, and returns its result."""
        outcome, begins = self._put(item)
        if begins:
            self._work()
        return outcome.result()

    def add_soon(self, item: Item) -> "Future[Result]":
        """Has an item done by another thread; tells what came of it."""
        outcome, begins = self._put(item)
        if begins:
            try:
                self._start(self._work)
            except RuntimeError as error:  # there can be no other thread now; there may be when the next item comes
                self._fail(error)
        return outcome

    def _put(self, item: Item) -> "tuple[Future[Result], bool]":
        """What will come of it, and whether nobody is at work yet."""
        outcome: Future[Result] = Future()
        with self._lock:
            self._pending.append((item, outcome))
            begins, self._is_at_work = not self._is_at_work, True
        return outcome, begins

    def _work(self) -> None:
        while batch := self._next():
            outcomes: Sequence[Result | Exception]
            try:
                outcomes = self._do([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  (raised by those who wait)
                outcomes = [error] * len(batch)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            pending, self._pending = self._pending, deque()
            self._is_at_work = False
        for _, outcome in pending:
            if outcome.set_running_or_notify_cancel():
                outcome.set_exception(error)

    def _next(self) -> list[tuple[Item, Future[Result]]]:
        batch: list[tuple[Item, Future[Result]]] = []
        room = self._most
        with self._lock:
            while self._pending and (not batch or self._size(self._pending[0][0]) <= room):
                item, outcome = self._pending.popleft()
                if outcome.set_running_or_notify_cancel():  # else nobody waits for it any more
                    batch.append((item, outcome))
                    room -= self._size(item)
            self._is_at_work = bool(batch)
        return batch
