"""A look at something again and again, beside what happens to it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["looking"]

EVERY_S = 0.01


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Calls `look` all the time, in a thread. Raises what that raised: what was not seen then says nothing."""
    over = threading.Event()

    def go() -> None:
        while not over.wait(EVERY_S):
            look()

    with ThreadPoolExecutor(1, "looks") as pool:
        looks = pool.submit(go)
        try:
            yield
        finally:
            over.set()
        looks.result()
