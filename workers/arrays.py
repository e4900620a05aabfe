"""Matrices in files of numpy's format, mapped into memory."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["map_array"]

_PARSER = threading.Lock()


def map_array(path: Path) -> npt.NDArray[Any]:
    """The array in a .npy file, read-only, its values not read yet. Raises OSError, ValueError where some are missing.

    One at a time: numpy reads the header by `ast.literal_eval`, which in two threads at once is a SystemError now and
    then, in Python 3.11 at least: they count one recursion depth between them.
    """
    with _PARSER:
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
