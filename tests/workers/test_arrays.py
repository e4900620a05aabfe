"""Arrays that are mapped into memory."""

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from workers.arrays import map_array


@pytest.fixture
def collecting_all_the_time() -> Iterator[None]:
    """The garbage collector runs at every other object, and each time lets other threads run, as a finalizer may."""
    before = gc.get_threshold()

    def let_others_run(*_: object) -> None:
        time.sleep(0)

    gc.collect()
    gc.freeze()  # only what is new is looked through
    gc.callbacks.append(let_others_run)
    gc.set_threshold(2)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.callbacks.remove(let_others_run)


def test_any_number_of_threads_map_arrays_at_once(tmp_path: Path, collecting_all_the_time: None) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(12.0).reshape(4, 3))
    shapes = []

    def map_often() -> None:
        shapes.extend(map_array(path).shape for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(map_often) for _ in range(8)]:
            done.result()
    assert shapes == [(4, 3)] * 800
