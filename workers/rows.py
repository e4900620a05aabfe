"""Rows of a prepared matrix, gathered as the network's inputs into memory that the caller keeps."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shared import kernels
from shared.preprocessing import FittedPreprocessing

__all__ = ["Rows"]

Array = npt.NDArray[Any]


class Rows:
    """x and y of one part of the prepared data, as they lie on disk.

    An x of the job's dtype holds the network's inputs. One of uint8 holds the elements of tensors as they were
    uploaded; they are standardized while they are gathered, to the very bits of `FittedPreprocessing.encode_features`.
    """

    def __init__(self, x: Array, y: Array, dtype: np.dtype[Any], preprocessing: FittedPreprocessing) -> None:
        self._x, self._y, self._dtype = x, y, dtype
        self._mean, self._scale = preprocessing.standardization()

    def __len__(self) -> int:
        return len(self._x)

    def memory(self, rows: int) -> tuple[Array, Array]:
        """New memory for x and y of so many rows."""
        return np.empty((rows, self._x.shape[1]), self._dtype), np.empty((rows, *self._y.shape[1:]), self._y.dtype)

    def gather(self, chosen: npt.NDArray[np.int64], x: Array, y: Array) -> None:
        """Writes the rows of these numbers into x and y, which `memory` made, or parts of them."""
        if self._x.dtype == np.uint8:
            kernels.gather_standardized(self._x, chosen, self._mean, self._scale, x)
        else:
            np.take(self._x, chosen, axis=0, out=x, mode="clip")  # the default mode gathers into a buffer first
        np.take(self._y, chosen, axis=0, out=y, mode="clip")
