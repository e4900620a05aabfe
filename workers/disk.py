"""Files on the local disk that are complete or absent, also across a power cut."""

import errno
import math
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DISK", "Disk", "FencedDisk", "Parts", "is_there", "remove_prepared", "write_atomically"]

Parts = Sequence[bytes | memoryview]
"""A file's content, in pieces that follow each other. A memoryview is of bytes."""
RESERVED_PART = 20  # one in so many bytes of a file system …
MAX_RESERVED_BYTES = 1 << 30  # … but no more, stays for the database, checkpoints and models of all


class Disk:
    """What is done to files. Nothing is there for good until it is flushed: a file's bytes by `flush`, its name by
    `flush_folder`. Every method raises OSError."""

    def make_folder(self, path: Path) -> None:
        """Makes a folder, with those above it, for good. It may be there already."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        self.flush_folder(path.parent)

    def make(self, path: Path) -> None:
        """Makes an empty file. Raises FileExistsError where something has that name."""
        path.touch(mode=0o600, exist_ok=False)

    def write(self, path: Path, parts: Parts) -> None:
        """Writes a file, in the place of what it held."""
        with path.open("wb", buffering=0) as file:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) :]

    def flush(self, path: Path) -> None:
        """Waits until a file's bytes are on disk."""
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def rename(self, path: Path, new: Path) -> None:
        """Gives a file or a folder a new name, and takes that of whatever had it."""
        path.replace(new)

    def flush_folder(self, path: Path) -> None:
        """Waits until the names in a folder are on disk."""
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, path: Path) -> None:
        """Removes a file, if it is there."""
        path.unlink(missing_ok=True)

    def room(self, folder: Path) -> float:
        """How many bytes may be written there before no more is free than what is reserved; infinity where the file
        system tells nothing of itself, as some over a network do."""
        told = shutil.disk_usage(folder)
        return told.free - min(told.total // RESERVED_PART, MAX_RESERVED_BYTES) if told.total else math.inf

    def remove_tree(self, path: Path) -> None:
        """Removes a folder, which need not be there, with all that is in it, as far as that can be done."""
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            shutil.rmtree(path)  # which says why

    # ------------------------------------------------------------ made of these
    def publish(self, path: Path, new: Path) -> None:
        """Gives what was written to the file `path` the name `new`, for good, and only once all of it is on disk."""
        self.flush(path)
        self.rename(path, new)
        self.flush_folder(new.parent)

    def check_room(self, folder: Path, size_bytes: int) -> None:
        """To be asked before much is written, so that who writes little does not find a full disk. Raises OSError as if
        the disk were full."""
        if size_bytes > self.room(folder):
            words = f"{os.strerror(errno.ENOSPC)} for {size_bytes:,} bytes besides what is reserved"
            raise OSError(errno.ENOSPC, words, str(folder))


DISK = Disk()


def is_there(path: Path) -> bool:
    """Whether there is such a file now. It is opened, as only then file systems over a network ask their server instead
    of telling what they remember. Raises OSError where that is not known."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        return False
    return True


class FencedDisk(Disk):
    """Another disk, on which nothing is made or gets a name any more once the file `mark` is gone: FileNotFoundError.

    That is asked last of all: what has been written may have taken long to reach the disk.
    """

    def __init__(self, disk: Disk, mark: Path) -> None:
        self._disk, self._mark = disk, mark

    def make_folder(self, path: Path) -> None:
        self._check()
        self._disk.make_folder(path)

    def make(self, path: Path) -> None:
        self._check()
        self._disk.make(path)

    def write(self, path: Path, parts: Parts) -> None:
        self._disk.write(path, parts)

    def flush(self, path: Path) -> None:
        self._disk.flush(path)

    def rename(self, path: Path, new: Path) -> None:
        self._check()
        self._disk.rename(path, new)

    def flush_folder(self, path: Path) -> None:
        self._disk.flush_folder(path)

    def remove(self, path: Path) -> None:
        self._disk.remove(path)

    def room(self, folder: Path) -> float:
        return self._disk.room(folder)

    def remove_tree(self, path: Path) -> None:
        self._disk.remove_tree(path)

    def _check(self) -> None:
        if not is_there(self._mark):
            raise FileNotFoundError(errno.ENOENT, "the attempt was given up", str(self._mark))


def remove_prepared(folder: Path) -> None:
    """Removes what was prepared in `folder`, and what was left half done beside it. Repeating is harmless. Raises
    OSError where something stays."""
    for each in (folder, *folder.parent.glob(f"{folder.name}.*")):
        DISK.remove_tree(each)


def write_atomically(path: Path, parts: Parts, disk: Disk = DISK) -> None:
    """Makes `path` hold `parts`, wholly or not at all, also across a power cut. Raises OSError."""
    disk.make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")  # its own, if another one writes it too
    try:
        disk.write(partial, parts)
        disk.publish(partial, path)
    except BaseException:
        disk.remove(partial)
        raise
