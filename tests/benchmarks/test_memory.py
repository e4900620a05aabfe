"""Watching memory: what a process keeps to itself counts, at its peak, and nothing else does."""

import mmap
import os
import threading
from pathlib import Path

import numpy as np

from benchmarks.memory import Watch

SIZE = 200_000_000


class Names:
    """This process by that name; says when it has been asked for a second time, and so been looked at."""

    def __init__(self) -> None:
        self.looked, self._calls = threading.Event(), 0

    def __call__(self) -> dict[int, str]:
        self._calls += 1
        if self._calls > 1:
            self.looked.set()
        return {os.getpid(): "this", 2**22 + 1: "one that has ended"}


def watched(use: object) -> dict[str, int]:
    names = Names()
    with Watch(names) as watch:
        assert names.looked.wait(10), use
    return watch.peak_bytes


def test_the_memory_that_a_process_allocates_is_counted() -> None:
    before = watched(None)["this"]
    array = np.ones(SIZE, np.uint8)
    after = watched(array)
    assert after["this"] - before >= SIZE * 0.9
    assert after["one that has ended"] == 0


def test_a_file_that_is_mapped_is_not_counted(tmp_path: Path) -> None:
    before = watched(None)["this"]
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(SIZE)
        with mmap.mmap(file.fileno(), SIZE) as mapped:
            pages = sum(mapped[::4096])
            after = watched(mapped)["this"]
    assert (pages, after - before < SIZE * 0.5) == (0, True)
