"""What arrives is written, counted and hashed in pieces, and refused as soon as it is too much."""

import asyncio
import gzip
import hashlib
import shutil
import threading
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service import uploads
from service.uploads import CHUNK_BYTES, MAX_BYTES, Limit, Together, receive, temporary_folder
from shared.errors import InvalidInput, TooLarge
from support.checkpoints import SmallDisk

DATA = b"0123456789" * 1_000


def received(folder: Path, body: bytes, *, gzipped: bool = False, max_bytes: int = 1 << 20, piece: int = 777) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    arriving = receive(
        chunks(), folder / "upload", gzipped=gzipped, limit=Limit(max_bytes), threads=asyncio.Semaphore()
    )
    told = asyncio.run(arriving)
    content = told.path.read_bytes()
    assert (told.size_bytes, told.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


def test_plain_and_compressed_bytes_arrive_as_they_were(tmp_path: Path) -> None:
    assert received(tmp_path, DATA) == DATA
    assert received(tmp_path, b"") == b""
    assert received(tmp_path, gzip.compress(DATA), gzipped=True) == DATA
    assert received(tmp_path, gzip.compress(DATA) + gzip.compress(b"more"), gzipped=True) == DATA + b"more"
    assert received(tmp_path, gzip.compress(b""), gzipped=True) == b""


@pytest.mark.parametrize("size", [CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_unpacks_to_more_than_a_piece_arrives_whole(tmp_path: Path, size: int) -> None:
    assert received(tmp_path, gzip.compress(bytes(size)), gzipped=True, max_bytes=1 << 30) == bytes(size)


def test_gzip_that_unpacks_to_far_more_than_it_is_is_refused_long_before_two_gigabytes(tmp_path: Path) -> None:
    body = gzip.compress(bytes(200 << 20))
    assert received(tmp_path, gzip.compress(bytes(60 << 20)), gzipped=True, max_bytes=MAX_BYTES)
    with pytest.raises(InvalidInput, match=r"at most 67,108,864 bytes unpacked; send it as it is"):
        received(tmp_path, body, gzipped=True, max_bytes=MAX_BYTES, piece=1 << 20)
    assert (tmp_path / "upload").stat().st_size < 70 << 20


def test_uploads_take_turns_piece_by_piece_and_never_more_threads_than_are_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, at_work, most, order = 8 << 20, 0, 0, []
    write = uploads._Gunzip.write

    def watched(sink: uploads._Gunzip, data: bytes) -> bytes:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        before = sink.size_bytes
        rest = write(sink, data)
        order.append((Path(sink._file.name).name, sink.size_bytes - before))
        at_work -= 1
        return rest

    async def chunks() -> AsyncIterator[bytes]:
        yield gzip.compress(bytes(size))

    async def arrive() -> None:
        threads = asyncio.Semaphore(1)
        limits = {"limit": Limit(), "threads": threads, "gzipped": True}
        await asyncio.gather(*(receive(chunks(), tmp_path / name, **limits) for name in "ab"))

    monkeypatch.setattr(uploads._Gunzip, "write", watched)
    asyncio.run(arrive())
    assert most == 1
    assert max(written for _, written in order) < 2 * CHUNK_BYTES
    assert [name for name, _ in order[:8]] == list("abababab")


@pytest.mark.parametrize("gzipped", [False, True])
def test_more_than_the_limit_is_refused_also_when_it_is_more_only_unpacked(tmp_path: Path, gzipped: bool) -> None:
    body = gzip.compress(DATA) if gzipped else DATA
    with pytest.raises(TooLarge):
        received(tmp_path, body, gzipped=gzipped, max_bytes=len(DATA) - 1)


@pytest.mark.parametrize("gzipped", [False, True])
def test_an_upload_that_would_take_what_is_reserved_of_the_disk_is_refused(tmp_path: Path, gzipped: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield gzip.compress(bytes(5 * CHUNK_BYTES)) if gzipped else bytes(CHUNK_BYTES)
        yield b"" if gzipped else bytes(CHUNK_BYTES)

    rest = {"gzipped": gzipped, "limit": Limit(), "threads": asyncio.Semaphore()}
    with pytest.raises(OSError, match="No space left on device"):
        asyncio.run(receive(chunks(), tmp_path / "upload", **rest, disk=SmallDisk(CHUNK_BYTES, CHUNK_BYTES - 1)))
    assert (tmp_path / "upload").stat().st_size < 2 * CHUNK_BYTES


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", gzip.compress(DATA)[:-1], gzip.compress(DATA) + b"rubbish", zlib.compress(DATA)],
    ids=["empty", "plain", "cut off", "more behind it", "zlib"],
)
def test_broken_gzip_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(InvalidInput, match="gzip"):
        received(tmp_path, body, gzipped=True)


def test_uploads_that_arrive_together_have_their_limit_together() -> None:
    together = Together()

    async def arrive() -> None:
        async with Limit(1_000, "as is said", together) as first, Limit(1_000, "as is said", together) as second:
            first.take(300)
            first.take(200)
            second.take(700)
            with pytest.raises(TooLarge, match=r"more than 700 bytes, .* as is said; other uploads, 300 bytes so far"):
                second.take(701)
            with pytest.raises(TooLarge, match=r"more than 300 bytes"):
                first.take(301)
        assert together.bytes == 0
        async with Limit(1_000, "as is said", together) as third:
            third.take(1_000)
            with pytest.raises(TooLarge, match=r"said$"):
                third.take(1_001)

    asyncio.run(arrive())


def test_the_work_of_very_many_empty_members_grows_with_their_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = 0

    class Counting:
        """What zlib makes, counting all that is handed to it, which it copies behind each member."""

        def __init__(self, wbits: int) -> None:
            self._member = ours(wbits)

        def decompress(self, data: bytes, max_length: int) -> bytes:
            nonlocal handed
            handed += len(data)
            return self._member.decompress(data, max_length)

        def __getattr__(self, name: str) -> object:
            return getattr(self._member, name)

    ours = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    work = []
    for members in (2_500, 5_000):
        handed = 0
        assert received(tmp_path, gzip.compress(b"") * members, gzipped=True, piece=1 << 20) == b""
        work.append(handed)
    assert work[1] < 2.5 * work[0]


def test_more_members_than_any_program_makes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_MEMBERS", 3)
    assert received(tmp_path, gzip.compress(b"x") * 3, gzipped=True) == b"xxx"
    with pytest.raises(InvalidInput, match="more than 3 members"):
        received(tmp_path, gzip.compress(b"x") * 4, gzipped=True)


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
def test_a_temporary_folder_is_gone_at_the_end_but_not_what_was_moved_away(
    tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    removers = []
    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: (removers.append(threading.get_ident()), remove(*a, **k)))

    async def use() -> None:
        async with temporary_folder(tmp_path, "one") as folder:
            (folder / "kept").write_text("x")
            (folder / "kept").rename(tmp_path / "kept")
            (folder / "lost").write_text("x")
            raise error

    with pytest.raises(error):
        asyncio.run(use())
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert removers
    assert threading.get_ident() not in removers, "the event loop would stand still meanwhile"
