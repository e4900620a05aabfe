"""Receiving a file: streamed to disk, counted, hashed, gzip undone on the way; nothing is left when it goes wrong."""

import asyncio
import hashlib
import shutil
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool

from service.ingest.options import check_expansion
from shared.errors import InvalidInput, TooLarge
from workers.disk import DISK, Disk

__all__ = [
    "MAX_BYTES",
    "TOO_MANY_UPLOADS",
    "UPLOADS_AT_ONCE",
    "UPLOAD_AGAIN_S",
    "UPLOAD_THREADS",
    "Limit",
    "Received",
    "Together",
    "receive",
    "temporary_folder",
    "too_large",
]

UPLOADS_AT_ONCE = 16  # of a tenant: each may have 2 GiB on disk, and as much again of the table that is made of it
TOO_MANY_UPLOADS = "{at_once} uploads of the tenant are under way; expected fewer at once"
UPLOAD_AGAIN_S = 5
UPLOAD_THREADS = 4  # of the 40 that answer requests: while a disk is slow, each is held for as long as it takes
MAX_BYTES = 2 << 30
CHUNK_BYTES = 1 << 20  # what is written by a thread at once, also of what it decompresses
PIECE_BYTES = 16 << 10  # what is handed to zlib at once: behind each gzip member it copies the rest of that
MAX_MEMBERS = 1_000_000  # of gzip: those of bgzip have 64 KiB each, so that 2 GiB are 32,768


@dataclass(frozen=True)
class Received:
    """A file that has arrived whole."""

    path: Path
    size_bytes: int
    sha256: str


@asynccontextmanager
async def temporary_folder(parent: Path, name: str) -> AsyncIterator[Path]:
    """A new folder that is gone, with all that is in it, at the end; what was moved away stays. It is removed beside
    the event loop: that of gigabytes takes long."""
    folder = await run_in_threadpool(_made, parent / name)
    try:
        yield folder
    finally:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    return folder


class Together:
    """What has arrived of several uploads that have one limit together, and are not listed yet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bytes = 0


class Limit:
    """How much of an upload may arrive, beside those that arrive `together` with it, and why no more, in words. What it
    takes it gives back at the end of its `async with` block."""

    def __init__(self, max_bytes: int = MAX_BYTES, why: str = "", together: Together | None = None) -> None:
        self._max_bytes, self._why = max_bytes, why
        self._together = together or Together()
        self._taken = 0

    async def __aenter__(self) -> "Limit":
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._together.lock:
            self._together.bytes -= self._taken
            self._taken = 0

    def take(self, size_bytes: int) -> None:
        """Counts that so much has arrived in all. Raises TooLarge where it may not."""
        if size_bytes > MAX_BYTES:
            raise too_large(MAX_BYTES, "also when unpacked")
        with self._together.lock:
            others = self._together.bytes - self._taken
            if size_bytes > self._max_bytes - others:
                now = f"; other uploads, {others:,} bytes so far, arrive now" if others else ""
                raise too_large(max(0, self._max_bytes - others), self._why + now)
            if size_bytes > self._taken:
                self._together.bytes, self._taken = others + size_bytes, size_bytes


def too_large(max_bytes: int, why: str) -> TooLarge:
    """That more came."""
    return TooLarge(f"got more than {max_bytes:,} bytes, expected at most that many, {why}")


async def receive(
    chunks: AsyncIterator[bytes],
    path: Path,
    *,
    gzipped: bool,
    limit: Limit,
    threads: asyncio.Semaphore,
    disk: Disk = DISK,
) -> Received:
    """Writes what arrives to `path`, decompressed, by as many threads as `threads` lets all uploads have. Raises
    TooLarge, either way, InvalidInput for gzip that is broken or unpacks to far more than it is, or OSError, also where
    the disk is full but for its reserve."""
    with path.open("wb") as file:
        sink = (_Gunzip if gzipped else _Plain)(file, limit, partial(disk.check_room, path.parent, CHUNK_BYTES))
        waiting = bytearray()
        sent = 0
        async for chunk in chunks:
            waiting += chunk
            sent += len(chunk)
            limit.take(sent)
            if len(waiting) >= CHUNK_BYTES:
                await _write(sink, bytes(waiting), threads)
                waiting.clear()
        await _write(sink, bytes(waiting), threads)
        sink.finish()
    return Received(path, sink.size_bytes, sink.sha256.hexdigest())


async def _write(sink: "_Plain", data: bytes, threads: asyncio.Semaphore) -> None:
    """Writes all of `data`; between the pieces, others have their turn."""
    while data:
        async with threads:
            data = await run_in_threadpool(sink.write, data)


class _Plain:
    """Writes and hashes bytes as they come."""

    def __init__(self, file: BinaryIO, limit: Limit, check_room: Callable[[], None]) -> None:
        self._file, self._limit, self._check_room = file, limit, check_room
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> bytes:
        """Writes what `data` hold, or CHUNK_BYTES and some more of it; returns those that are still to be written."""
        self._check_room()
        self._put(data)
        return b""

    def _put(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self._limit.take(self.size_bytes)
        self.sha256.update(data)
        self._file.write(data)

    def finish(self) -> None:
        """All has come."""


class _Gunzip(_Plain):
    """Undoes gzip, of one member or several one after the other, in pieces of bounded size."""

    def __init__(self, file: BinaryIO, limit: Limit, check_room: Callable[[], None]) -> None:
        super().__init__(file, limit, check_room)
        self._member = zlib.decompressobj(wbits=31)
        self._members = 1
        self._began = False
        self._taken = 0  # bytes of gzip, of those that came

    def write(self, data: bytes) -> bytes:
        self._check_room()
        enough = self.size_bytes + CHUNK_BYTES
        for start in range(0, len(data), PIECE_BYTES):
            rest = self._write_piece(data[start : start + PIECE_BYTES], enough)
            if self.size_bytes >= enough:
                return rest + data[start + PIECE_BYTES :]
        return b""

    def _write_piece(self, data: bytes, enough: int) -> bytes:
        while data and self.size_bytes < enough:
            if self._member.eof:
                self._begin_member()
            self._put(self._decompressed(data))
            self._began = True
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._taken += len(data) - len(rest)
            check_expansion(self._taken, self.size_bytes, "; send it as it is, without Content-Encoding")
            data = rest
        return data

    def finish(self) -> None:
        while not self._member.eof and (rest := self._decompressed(b"")):
            self._put(rest)
        if not (self._began and self._member.eof):
            raise InvalidInput.of("body", "gzip that is cut off", "a whole gzip body, as Content-Encoding says")

    def _begin_member(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise InvalidInput.of("body", f"gzip of more than {MAX_MEMBERS:,} members", "fewer; one is usual")

    def _decompressed(self, data: bytes) -> bytes:
        try:
            return self._member.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise InvalidInput.of("body", f"broken gzip ({error})", "gzip, as Content-Encoding says") from None
