"""Receiving a file: streamed to disk, counted, hashed, gzip undone on the way; nothing is left when it goes wrong."""

import hashlib
import shutil
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool

from shared.errors import InvalidInput, TooLarge

__all__ = ["MAX_BYTES", "Received", "receive", "temporary_folder"]

MAX_BYTES = 2 << 30
CHUNK_BYTES = 1 << 20  # what is decompressed at once, and written


@dataclass(frozen=True)
class Received:
    """A file that has arrived whole."""

    path: Path
    size_bytes: int
    sha256: str


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder that is gone, with all that is in it, at the end; what was moved away stays."""
    folder = parent / name
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def receive(chunks: AsyncIterator[bytes], path: Path, *, gzipped: bool, max_bytes: int = MAX_BYTES) -> Received:
    """Writes what arrives to `path`, decompressed. Raises TooLarge, either way, or InvalidInput for broken gzip."""
    with path.open("wb") as file:
        sink = _Gunzip(file, max_bytes) if gzipped else _Plain(file, max_bytes)
        waiting = bytearray()
        sent = 0
        async for chunk in chunks:
            waiting += chunk
            sent += len(chunk)
            if sent > max_bytes:
                raise _too_large(max_bytes)
            if len(waiting) >= CHUNK_BYTES:
                await run_in_threadpool(sink.write, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(sink.write, bytes(waiting))
        sink.finish()
    return Received(path, sink.size_bytes, sink.sha256.hexdigest())


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"got more than {max_bytes:,} bytes, expected at most that many, also when unpacked")


class _Plain:
    """Writes and hashes bytes as they come."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        self.sha256.update(data)
        self._file.write(data)

    def finish(self) -> None:
        """All has come."""


class _Gunzip(_Plain):
    """Undoes gzip, of one member or several one after the other, in pieces of bounded size."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        super().__init__(file, max_bytes)
        self._member = zlib.decompressobj(wbits=31)
        self._began = False

    def write(self, data: bytes) -> None:
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            super().write(self._decompressed(data))
            self._began = True
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        while not self._member.eof and (rest := self._decompressed(b"")):
            super().write(rest)
        if not (self._began and self._member.eof):
            raise InvalidInput.of("body", "gzip that is cut off", "a whole gzip body, as Content-Encoding says")

    def _decompressed(self, data: bytes) -> bytes:
        try:
            return self._member.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise InvalidInput.of("body", f"broken gzip ({error})", "gzip, as Content-Encoding says") from None
