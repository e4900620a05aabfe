"""What several threads want done at the same time is done together: one commit, one flush to disk, for all of them."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    """What one thread wants done, and what came of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.is_done = False
        self.outcome: Result | Exception | None = None


class Batches(Generic[Item, Result]):
    """Batches of items. `do` is called with one at a time, at most `most` items, and returns for each, in their order,
    its result or the exception to be raised; what it raises itself is raised for all of them.

    Nobody waits for others to come: a batch is what has gathered while the one before was done.
    """

    def __init__(self, do: Callable[[Sequence[Item]], Sequence[Result | Exception]], most: int) -> None:
        self._do, self._most = do, most
        self._turn = threading.Lock()
        self._pending: deque[_Waiting[Item, Result]] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._pending)

    def add(self, item: Item) -> Result:
        """Has an item done, by this thread or another one, and returns its result."""
        mine: _Waiting[Item, Result] = _Waiting(item)
        self._pending.append(mine)
        while not mine.is_done:
            with self._turn:
                if not mine.is_done:
                    self._do_next()
        if isinstance(mine.outcome, Exception):
            raise mine.outcome
        return mine.outcome  # type: ignore[return-value]

    def _do_next(self) -> None:
        batch = [self._pending.popleft() for _ in range(min(self._most, len(self._pending)))]
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = self._do([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001  (raised by those who wait)
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
            waiting.is_done = True
