"""Checkpoints to write and to compare, and disks that do not do what they should."""

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers import checkpoint_files
from workers.checkpoint import Checkpoint, header_of, parts_of, tensors_of
from workers.disk import Disk, Parts
from workers.parameter_server import ServerState
from workers.storage import Storage


def at(step: int, *, best: bool = True, dtype: str = "float32") -> Checkpoint:
    """A small state that follows from its step."""
    vector = np.arange(5, dtype=dtype) + step
    slots = {"m": vector * 2, "v": vector * 3}
    return Checkpoint(step, ServerState(vector, slots, vector * 4 if best else None), {"x": 1})


def write(storage: Storage, what: Checkpoint, damaged: Sequence[str] = ()) -> None:
    tensors = tensors_of(what.server)
    header = header_of(what.step, tensors, what.memory)
    checkpoint_files.write(storage, what.step, parts_of(header, tensors.values()), damaged)


def same(found: Checkpoint | None, expected: Checkpoint) -> bool:
    """Whether that is it, bit by bit."""
    if found is None or (found.step, found.memory) != (expected.step, expected.memory):
        return False
    mine, theirs = tensors_of(found.server), tensors_of(expected.server)
    return {name: (v.dtype, v.tobytes()) for name, v in mine.items()} == {
        name: (v.dtype, v.tobytes()) for name, v in theirs.items()
    }


def steps_in(storage: Storage) -> list[int]:
    return sorted(int(name[5:17]) for name in storage.names())


class FullDisk(Disk):
    """A disk on which files whose name has `part` in it find no room while it is full."""

    def __init__(self, part: str = "") -> None:
        self.is_full, self.refused = True, 0
        self.has_refused = threading.Event()
        self._part = part

    def write(self, path: Path, parts: Parts) -> None:
        if not self.is_full or self._part not in path.name:
            return super().write(path, parts)
        super().write(path, [parts[0][:100]])
        self.refused += 1
        self.has_refused.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class SmallDisk(Disk):
    """A disk that has so much room besides what is reserved: when it is first asked, then, and so on."""

    def __init__(self, *rooms: int) -> None:
        self._rooms = list(rooms)

    def room(self, folder: Path) -> float:
        return self._rooms.pop(0) if len(self._rooms) > 1 else self._rooms[0]


class SlowDisk(Disk):
    """A disk on which a checkpoint takes until the test lets it be there."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def write(self, path: Path, parts: Parts) -> None:
        if "step-" in path.name:
            self.has_begun.set()
            assert self.may_end.wait(30)
        super().write(path, parts)
