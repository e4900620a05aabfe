"""What was found out of data sets' files, for the next of many plans: a data set never changes."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from shared.errors import DataMissing
from shared.table import TableFile

__all__ = ["remembered"]

T = TypeVar("T")

MOST = 256  # answers, the least recently used of which are forgotten

_answers: "OrderedDict[Hashable, object]" = OrderedDict()
_lock = threading.Lock()


def remembered(file: TableFile, asked: Hashable, find: Callable[[], T]) -> T:
    """What `find` finds out of a file, by what is asked: once, as long as the same file is there. What it raises is
    not remembered. Raises DataMissing when the file is gone."""
    try:
        there = os.stat(file.path)  # noqa: PTH116  (to make a Path takes longer than all the rest)
    except FileNotFoundError:
        raise DataMissing(f"data set {file.dataset_id} is missing: its file is gone; upload it again") from None
    key = file.path, there.st_ino, there.st_size, there.st_mtime_ns, asked
    with _lock:
        if key in _answers:
            _answers.move_to_end(key)
            return cast(T, _answers[key])
    found = find()
    with _lock:
        _answers[key] = found
        while len(_answers) > MOST:
            _answers.popitem(last=False)
    return found
