"""Marks of data sets and jobs whose files may be other than the database says: an empty file each, of that name."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.disk import DISK, Disk

__all__ = ["Doubts"]

log = logging.getLogger("chainrule")


class Doubts:
    """The marks in a folder. Whoever is killed leaves theirs, and what cannot be removed keeps its own."""

    def __init__(self, folder: Path, disk: Disk = DISK) -> None:
        self.folder = folder
        self._disk = disk
        self._left: set[str] = set()  # of which something could not be removed

    def names(self) -> list[str]:
        """All that is marked. Raises OSError."""
        return [mark.name for mark in self.folder.iterdir()]

    def mark(self, name: str) -> None:
        """Marks it until `unmark`; it may be marked already."""
        with suppress(OSError):  # a full disk keeps nobody from training or removing
            (self.folder / name).touch(mode=0o600)

    def unmark(self, name: str) -> None:
        """Takes the mark away, unless something could not be removed meanwhile."""
        if name in self._left:
            self._left.discard(name)
            return
        with suppress(OSError):  # then it is settled once more
            self._disk.remove(self.folder / name)

    @contextmanager
    def removing(self, name: str) -> Iterator[None]:
        """What of it cannot be removed is so later: of no use any more, but harmless."""
        try:
            yield
        except OSError as error:
            of = name.partition(".")[0]
            log.warning("files of %s could not be removed, which is tried again within the hour: %s", of, error)
            self.mark(name)
            self._left.add(name)

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Marks it for good, and keeps others from settling it; tells whether it had no mark before."""
        is_new = not (self.folder / name).exists()
        mark = self._hold(name)
        try:
            yield is_new
        finally:
            if mark is not None:
                os.close(mark)

    def _hold(self, name: str) -> int | None:
        path = self.folder / name
        while True:
            try:
                with suppress(FileExistsError):
                    self._disk.make(path)
                mark = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:  # as in `mark`
                return None
            with suppress(OSError):
                fcntl.flock(mark, fcntl.LOCK_SH)
            if _is_at(mark, path):
                with suppress(OSError):
                    self._disk.flush_folder(self.folder)
                return mark
            os.close(mark)  # it was settled while we waited for it

    @contextmanager
    def settling(self, name: str) -> Iterator[bool]:
        """Holds the mark, if it is there still and nobody holds it; tells whether that is so."""
        path = self.folder / name
        try:
            mark = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            yield False
            return
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = _is_at(mark, path)
        except OSError:
            is_ours = False
        try:
            yield is_ours
        finally:
            os.close(mark)


def _is_at(file: int, path: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
