"""What is costly to make and asked for by many: made once, and those asked for last kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["MadeOnce"]

T = TypeVar("T")


class MadeOnce(Generic[T]):
    """Values by key. Each is made by who first asks for it, and waited for by all others who ask meanwhile; what cannot
    be made raises the same error at all of them, and is tried again for who asks next. Kept are those asked for last,
    `most` at most, and `most_bytes` at most together, of which `size` tells each one's; the very last always is."""

    def __init__(self, most: int, most_bytes: int = 0, size: Callable[[T], int] = lambda _: 0) -> None:
        self._most, self._most_bytes, self._size = most, most_bytes, size
        self._lock = threading.Lock()
        self._made: OrderedDict[str, T] = OrderedDict()
        self._making: dict[str, Future[T]] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value of a key, as it is kept or as `make` makes it. Raises what `make` raises."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
            making = self._making.get(key)
            is_ours = making is None
            if making is None:
                making = self._making[key] = Future()
        if is_ours:
            self._make(key, make, making)
        return making.result()

    def _make(self, key: str, make: Callable[[], T], making: "Future[T]") -> None:
        """Makes it, and tells those who wait."""
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._made[key] = value
            while len(self._made) > 1 and (len(self._made) > self._most or self._bytes() > self._most_bytes):
                self._made.popitem(last=False)
        making.set_result(value)

    def forget(self, key: str) -> None:
        """Keeps it no longer."""
        with self._lock:
            self._made.pop(key, None)

    def _bytes(self) -> int:
        return sum(map(self._size, self._made.values()))
