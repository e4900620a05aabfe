"""Work on many pieces by several threads, whose results come in the order of the pieces."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Piece = TypeVar("Piece")
Made = TypeVar("Made")


def in_order(work: Callable[[Piece], Made], pieces: Iterable[Piece], threads: int) -> Iterator[Made]:
    """`work` of each piece, in the order of the pieces; at most `threads` of them are ready or worked on beside the one
    that is used."""
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[Made]] = deque()
        for piece in pieces:
            coming.append(pool.submit(work, piece))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
