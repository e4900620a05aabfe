"""Where a job's checkpoints are kept: in its folder, or in a bucket. Named contents, each complete or absent."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from shared.errors import Unavailable
from workers.disk import DISK, Disk, Parts, write_atomically

__all__ = ["Folder", "Storage", "StorageAway", "check_storage", "storage_at"]


class StorageAway(OSError):
    """The whole storage cannot be used now, so that it is not known what it holds."""

    def __init__(self, words: str) -> None:
        super().__init__(errno.EIO, words)


class Storage(Protocol):
    """Contents by name. Every method may block, and raises OSError: StorageAway where nothing can be asked now."""

    def names(self) -> list[str]:
        """What is kept, in any order."""

    def read(self, name: str) -> bytes:
        """The content of that name."""

    def write(self, name: str, parts: Parts) -> None:
        """Keeps a content. When this returns it is there for good; until then, and after an error, nothing of it."""

    def remove(self, name: str) -> None:
        """Removes a content, if it is there."""

    def clear(self) -> None:
        """Removes all that is kept."""


class Folder:
    """Files in a folder of this machine."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self._path, self._disk = path, disk

    def names(self) -> list[str]:
        with _told():
            try:
                return [path.name for path in self._path.iterdir() if not path.name.startswith(".")]
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes:
        with _told():
            return (self._path / name).read_bytes()

    def write(self, name: str, parts: Parts) -> None:
        leftovers = list(self._path.glob(".*.partial"))  # of an attempt that was killed; their room may be needed
        self._disk.make_folder(self._path)  # which a fenced disk refuses: what is listed before is no successor's
        for leftover in leftovers:
            self._disk.remove(leftover)
        write_atomically(self._path / name, parts, self._disk)

    def remove(self, name: str) -> None:
        self._disk.remove(self._path / name)

    def clear(self) -> None:
        for path in self._path.glob("*"):
            self._disk.remove(path)
        if self._path.is_dir():
            self._path.rmdir()


@contextmanager
def _told() -> Iterator[None]:
    """That a file is not there is known; whatever else the disk says, it is not known what it holds."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageAway(error.strerror or type(error).__name__) from error


def storage_at(url: str | None, folder: Path, disk: Disk = DISK) -> Storage:
    """The storage at a URL `s3://bucket/prefix`, or without one in `folder`."""
    if url is None:
        return Folder(folder, disk)
    from workers.bucket import Bucket  # brings s3fs, which takes half a second to import, and may not be installed

    return Bucket(url)


def check_storage(url: str) -> None:
    """Tries whether contents can be kept at a URL. Raises Unavailable, which says what is missing."""
    try:
        storage = storage_at(url, Path())
        storage.names()
        storage.write(PROBE, [b"Chainrule could write here when it started."])
        storage.remove(PROBE)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"checkpoints cannot be kept at {url}: got no package {error.name}, expected it to be installed: "
            "pip install s3fs"
        ) from error
    except OSError as error:
        raise Unavailable(
            f"checkpoints cannot be kept at {url}: got {error.strerror or error}, expected a bucket to read from and "
            "to write to; its credentials and its endpoint come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_ENDPOINT_URL, or from AWS's own files"
        ) from error


PROBE = "chainrule-probe"
