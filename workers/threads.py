"""Work in threads: many pieces whose results come in the order of the pieces, and one piece that is waited for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["in_order", "wait_for", "waited"]

Piece = TypeVar("Piece")
Made = TypeVar("Made")

LOOK_UP_EVERY_S = 0.1


def in_order(
    work: Callable[[Piece], Made],
    pieces: Iterable[Piece],
    threads: int,
    look_up: Callable[[], None] = lambda: None,
) -> Iterator[Made]:
    """`work` of each piece, in the order of the pieces; at most `threads` of them are ready or worked on beside the one
    that is used.

    Calls `look_up` for each and now and then while one is waited for; it may raise to stop. Who stops before the end
    waits for nothing: what has begun goes on unobserved to the end of its piece.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        coming: deque[Future[Made]] = deque()
        for piece in pieces:
            coming.append(pool.submit(work, piece))
            if len(coming) > threads:
                yield wait_for(coming.popleft(), look_up)
        while coming:
            yield wait_for(coming.popleft(), look_up)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def waited(work: Callable[[], Made], look_up: Callable[[], None]) -> Made:
    """What `work` returns. Meanwhile `look_up` is called now and then; if it raises, the work goes on unobserved."""
    pool = ThreadPoolExecutor(1)
    try:
        return wait_for(pool.submit(work), look_up)
    finally:
        pool.shutdown(wait=False)


def wait_for(coming: Future[Made], look_up: Callable[[], None]) -> Made:
    """The result that is coming. Calls `look_up`, also now and then until it has come, which may raise to stop."""
    while True:
        look_up()
        if wait([coming], LOOK_UP_EVERY_S).done:
            return coming.result()
