"""Files on this side: what an upload is, reading it in chunks, writing a download whole or not at all."""

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from chainrule.errors import InvalidFile

__all__ = ["Media", "chunks", "is_table", "media_of", "name_of", "sha256", "whole"]

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Media:
    """How a file is sent: its content type, its encoding, and what the service must be told to read it."""

    type: str
    encoding: str | None = None
    options: dict[str, str] = field(default_factory=dict)


MEDIA = {
    ".csv": Media("text/csv"),
    ".csv.gz": Media("text/csv", encoding="gzip"),
    ".tsv": Media("text/csv", options={"delimiter": "\t"}),
    ".parquet": Media("application/vnd.apache.parquet"),
    ".npz": Media("application/x-npz"),
}


def _suffix(path: Path) -> str | None:
    lower = path.name.lower()
    return max((suffix for suffix in MEDIA if lower.endswith(suffix)), key=len, default=None)


def media_of(path: Path) -> Media:
    """What the file is, by its suffix. Raises InvalidFile for any other."""
    suffix = _suffix(path)
    if suffix is None:
        raise InvalidFile(f"{path}: got the suffix {path.suffix or '(none)'}, expected one of {', '.join(MEDIA)}")
    return MEDIA[suffix]


def is_table(name: str) -> bool:
    """Whether a text names a file that can be uploaded, by its suffix."""
    return _suffix(Path(name)) is not None


def name_of(path: Path) -> str:
    """The file's name without its suffix: what a data set is called unless told otherwise."""
    return path.name[: -len(_suffix(path) or "") or None]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises InvalidFile where the file cannot be read, or not be unpacked."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidFile(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _piece(path: Path, file: IO[bytes]) -> bytes:
    with _reading(path):
        return file.read(CHUNK_BYTES)


def chunks(path: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[bytes]:
    """The file's bytes, piece by piece; `progress(sent, total)` is told after each. Raises InvalidFile."""
    total, sent = path.stat().st_size, 0
    with _reading(path):
        file = path.open("rb")
    with file:
        while piece := _piece(path, file):
            yield piece
            sent += len(piece)
            if progress:
                progress(sent, total)


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which becomes `path` when the block ends well, so that nobody ever sees half of it.

    Raises InvalidFile where nothing can be written there.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """SHA-256 of the content, unpacked where it is sent compressed: as the service counts it. Raises InvalidFile."""
    with _reading(path), gzip.open(path) if media_of(path).encoding else path.open("rb") as file:
        return hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
