"""In which order each epoch goes through the training rows."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.randomness import Purpose, permutation, permutation_into
from shared.spec import JobSpec
from workers.arrays import map_array
from workers.threads import wait_for

__all__ = ["ROWS_IN_MEMORY", "LongOrders", "Order"]

ROWS_IN_MEMORY = 1 << 22  # the order of more is a file that all the job's workers share


class Order:
    """The order of the rows, epoch by epoch: random by the spec's seed, or as they lie where it does not shuffle.

    A long one is a file in `folder`, which `LongOrders` has made.
    """

    def __init__(self, spec: JobSpec, rows: int, folder: Path, rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        self._spec, self._rows, self._folder = spec, rows, folder
        self._of_epoch = lru_cache(maxsize=2)(self._in_memory if rows <= rows_in_memory else self._mapped)

    def rows(self, epoch: int, start: int, stop: int) -> npt.NDArray[np.int64]:
        """The numbers of the rows that come as `start` up to `stop` in that epoch. Raises OSError."""
        if not self._spec.shuffle:
            return np.arange(start, stop)
        return np.array(self._of_epoch(epoch)[start:stop])

    def _in_memory(self, epoch: int) -> npt.NDArray[np.int64]:
        return permutation(self._rows, self._spec.seed, Purpose.SHUFFLE, epoch)

    def _mapped(self, epoch: int) -> npt.NDArray[np.int64]:
        return map_array(_path(self._folder, epoch))


class LongOrders:
    """Makes the orders that are too long for memory, as files, complete or absent: each while the epoch before it runs.

    Nothing is to be made, or to wait for, where an epoch's order fits into memory or the rows are not shuffled.
    """

    def __init__(
        self,
        spec: JobSpec,
        rows: int,
        epochs: int,
        folder: Path,
        rows_in_memory: int = ROWS_IN_MEMORY,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called before files of others are removed or replaced, and raises where they are not to be."""
        self._check = check
        self._spec, self._rows, self._epochs, self._folder = spec, rows, epochs, folder
        self.needed = spec.shuffle and rows > rows_in_memory
        """Whether there is anything to do at all."""
        self._ready: int | None = None
        self._coming: dict[int, Future[None]] = {}
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(1, "orders")

    def await_epoch(self, epoch: int, look_up: Callable[[], None] = lambda: None) -> None:
        """Returns when that epoch's order is there, and has the next one begun. To be called before its first step.

        Calls `look_up` now and then, which may raise to stop waiting. Raises OSError.
        """
        if not self.needed or epoch == self._ready:
            return
        wait_for(self._begun(epoch), look_up)
        self._ready, self._coming = epoch, {number: made for number, made in self._coming.items() if number > epoch}
        if epoch + 1 < self._epochs:
            self._begun(epoch + 1)

    def close(self) -> None:
        """Stops what is being made, and waits for that."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)

    def _begun(self, epoch: int) -> Future[None]:
        if epoch not in self._coming:
            self._coming[epoch] = self._pool.submit(self._make, epoch)
        return self._coming[epoch]

    def _make(self, epoch: int) -> None:
        self._check()
        path = _path(self._folder, epoch)
        for other in self._folder.glob("order-*"):  # those of past epochs, and what was left half done
            if other not in (path, _path(self._folder, epoch - 1)):
                other.unlink(missing_ok=True)
        if not path.exists():
            self._write(path, epoch)

    def _write(self, path: Path, epoch: int) -> None:
        # Named by the process: one that was given up may still write to its own.
        partial, drawn = (path.with_suffix(f".{os.getpid()}.{kind}") for kind in ("partial", "drawn"))
        try:
            order = _new_file(partial, np.dtype(np.int64), (self._rows,))
            scratch = _new_file(drawn, np.dtype(np.uint64), (self._rows, 2))
            permutation_into(order, scratch, self._spec.seed, Purpose.SHUFFLE, epoch, heed=self._heed)
            order.flush()  # else a power cut may leave the name with pages of zeros
            self._check()
            partial.replace(path)
        except _Closed:
            return
        finally:
            partial.unlink(missing_ok=True)
            drawn.unlink(missing_ok=True)

    def _heed(self) -> None:
        if self._closed.is_set():
            raise _Closed


class _Closed(Exception):
    """Nobody waits for the order any more."""


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"order-{epoch}.npy"


def _new_file(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> "np.memmap[Any, Any]":
    """A new .npy file, mapped. Its disk is taken first, so that a full one is an OSError and not a bus error."""
    mapped = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return mapped
