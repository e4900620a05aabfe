"""In which order each epoch goes through the training rows."""

import fcntl
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.randomness import Purpose, permutation, permutation_into
from shared.spec import JobSpec

__all__ = ["ROWS_IN_MEMORY", "Order"]

ROWS_IN_MEMORY = 1 << 22  # the order of more is a file that the workers of a node share


class Order:
    """The order of the rows, epoch by epoch: random by the spec's seed, or as they lie where it does not shuffle.

    A long one is made by the worker that first needs it, as `order-<epoch>.npy` in `folder`, complete or absent.
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
        path = self._folder / f"order-{epoch}.npy"
        with (self._folder / "order.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                self._write(path, epoch)
        order: npt.NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
        return order

    def _write(self, path: Path, epoch: int) -> None:
        partial, drawn = path.with_suffix(".partial"), path.with_suffix(".drawn")
        try:
            order = _new_file(partial, np.dtype(np.int64), (self._rows,))
            scratch = _new_file(drawn, np.dtype(np.uint64), (self._rows, 2))
            permutation_into(order, scratch, self._spec.seed, Purpose.SHUFFLE, epoch)
            order.flush()  # else a power cut may leave the name with pages of zeros
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
            drawn.unlink(missing_ok=True)
        for past in self._folder.glob("order-*.npy"):
            if past not in (path, self._folder / f"order-{epoch - 1}.npy"):  # where another worker may still be
                past.unlink(missing_ok=True)


def _new_file(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> "np.memmap[Any, Any]":
    """A new .npy file, mapped. Its disk is taken first, so that a full one is an OSError and not a bus error."""
    mapped = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return mapped
