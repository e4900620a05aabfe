"""Uploaded files are read by processes that may die, and take nothing else with them."""

import asyncio
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.requests import ClientDisconnect, Request

from service import readers as readers_module
from service.datasets import ReadOptions, ingest
from service.ingest.orders import Limits, Order
from service.ingest.reader import AT_ONCE, next_of
from service.log import LogFormat
from service.readers import Readers
from service.routes.datasets import while_connected
from shared.errors import InvalidInput, Unavailable

WITHIN_S = 20.0
CSV = b"age,job\n17,clerk\n?,cook\n"
SECRET = "for-nobody-else"

Make = Callable[..., Order]


def children(process: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


async def first_child(process: int, others: set[int] | None = None) -> int:
    """A child that is none of the others, once there is one."""
    async with asyncio.timeout(WITHIN_S):
        while not (found := children(process) - (others or set())):
            await asyncio.sleep(0.01)  # nothing tells when it is there
    return found.pop()


class Watched(Readers):
    """Readers whose processes a test can find."""

    def __init__(self) -> None:
        super().__init__()
        self._others = children(os.getpid())

    async def template(self) -> int:
        return await first_child(os.getpid(), self._others)

    async def reader(self) -> int:
        """The process that reads a file which takes for ever, once it does so."""
        process = await first_child(await self.template())
        async with asyncio.timeout(WITHIN_S):
            while not _waits(process):
                await asyncio.sleep(0.01)
        return process


@pytest.fixture
def readers() -> Iterator[Watched]:
    readers = Watched()
    yield readers
    readers.stop()


@pytest.fixture
def order(tmp_path: Path) -> Make:
    """Makes an order: to read some bytes, or, without any, a pipe that nobody writes to, which takes for ever."""

    def make(content: bytes | None = None, limits: Limits | None = None) -> Order:
        source, folder = tmp_path / "upload", tmp_path / "table"
        folder.mkdir(exist_ok=True)
        if content is None:
            os.mkfifo(source)
        else:
            source.write_bytes(content)
        return Order(
            tenant="default",
            source=source,
            media_type="text/csv",
            options=ReadOptions(),
            folder=folder,
            dataset_id="ds_test",
            sha256="0" * 64,
            limits=limits or Limits(),
        )

    return make


def _waits(process: int) -> bool:
    """Whether it sleeps, with the limits on already."""
    limits = Path(f"/proc/{process}/limits").read_text()
    status = Path(f"/proc/{process}/status").read_text()
    return "Max data size              unlimited" not in limits and "State:\tS" in status


def has_ended(process: int) -> bool:
    """Waits until a process, which may have ended long ago, has ended."""
    try:
        file = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([file], [], [], WITHIN_S)[0])
    finally:
        os.close(file)


# ---------------------------------------------------------------- what is read
def test_a_table_is_what_this_process_would_have_made_of_the_file(
    readers: Watched, order: Make, tmp_path: Path
) -> None:
    asked = order(CSV)
    table = asyncio.run(readers.read(asked))
    content = Path(table.path).read_bytes()
    assert table == ingest(asked.source, "text/csv", ReadOptions(), asked.folder, "ds_test", "0" * 64)
    assert content == Path(table.path).read_bytes()


def test_a_mistake_is_told_as_this_process_would_have_told_it(readers: Watched, order: Make) -> None:
    with pytest.raises(InvalidInput) as refused:
        asyncio.run(readers.read(order(b"a,b\n1,2\n3,\xff\n")))
    assert str(refused.value.errors[0]) == "row 2 (line 3), column 'b': got \"b'\\\\xff'\", expected text in UTF-8"


def test_a_file_that_is_not_there_is_the_machines_fault(readers: Watched, order: Make) -> None:
    asked = order(CSV)
    asked.source.unlink()
    with pytest.raises(FileNotFoundError):
        asyncio.run(readers.read(asked))


def test_many_files_are_read_at_once_each_for_itself(readers: Watched, order: Make, tmp_path: Path) -> None:
    def one(number: int) -> Order:
        source, folder = tmp_path / f"upload{number}", tmp_path / f"table{number}"
        source.write_bytes(b"a,b\n" + b"1,2\n" * (number + 1))
        folder.mkdir()
        return order(CSV).model_copy(update={"source": source, "folder": folder})

    async def read() -> list[int]:
        return [table.rows for table in await asyncio.gather(*(readers.read(one(number)) for number in range(30)))]

    assert asyncio.run(read()) == list(range(1, 31))


def test_slow_files_of_one_tenant_do_not_keep_another_waiting(readers: Watched, order: Make, tmp_path: Path) -> None:
    slow = order().model_copy(update={"tenant": "slow"})
    (tmp_path / "quick").write_bytes(CSV)
    quick = slow.model_copy(update={"tenant": "quick", "source": tmp_path / "quick"})

    async def read() -> tuple[int, int]:
        reading = [asyncio.create_task(readers.read(slow)) for _ in range(2 * AT_ONCE)]
        await readers.reader()
        rows = (await readers.read(quick)).rows
        busy = len(children(await readers.template()))
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
        return rows, busy

    assert asyncio.run(read()) == (2, AT_ONCE - 1)


@pytest.mark.parametrize(
    ("running", "waiting", "next_one"),
    [
        ("", "", None),
        ("", "ab", 0),
        ("aa", "a", 0),
        ("aaa", "aaa", None),
        ("aaa", "aab", 2),
        ("aaab", "c", None),
    ],
)
def test_the_next_file_is_the_first_of_a_tenant_that_has_not_all_readers_but_one(
    running: str, waiting: str, next_one: int | None
) -> None:
    assert next_of(list(running), list(waiting)) == next_one


def test_what_a_process_tells_is_parsed_beside_the_event_loop(
    readers: Watched, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    parsed = readers_module._table
    monkeypatch.setattr(readers_module, "_table", lambda *all: (threads.append(threading.get_ident()), parsed(*all))[1])
    assert asyncio.run(readers.read(order(CSV))).rows == 2
    assert threads
    assert threading.get_ident() not in threads


# ---------------------------------------------------------------- what is refused
def test_a_file_that_needs_too_much_memory_is_refused_with_the_limit(readers: Watched, order: Make) -> None:
    rows = b"".join(b"1,%d%s\n" % (row, b"x" * 500_000) for row in range(600))
    with pytest.raises(InvalidInput, match="more than 256 MiB of memory"):
        asyncio.run(readers.read(order(b"a,b\n" + rows, Limits(memory_bytes=256 << 20))))


def test_a_file_that_takes_too_long_is_refused_with_the_limit(readers: Watched, order: Make) -> None:
    wide = b",".join(b"c%d" % number for number in range(10_000)) + b"\n" + (b"x," * 9_999 + b"x\n") * 100
    with pytest.raises(InvalidInput, match="more than 1 s"):
        asyncio.run(readers.read(order(wide, Limits(base_s=1))))


def test_a_table_that_has_more_to_tell_than_can_be_kept_is_refused(readers: Watched, order: Make) -> None:
    rows = b"".join(b"%d%s,1\n" % (row, b"x" * 50_000) for row in range(90))
    with pytest.raises(InvalidInput, match="names and categories of more than 2 MiB"):
        asyncio.run(readers.read(order(b"a,b\n" + rows, Limits(told_bytes=2 << 20))))


def test_a_file_that_becomes_too_long_a_table_is_refused_with_the_limit(readers: Watched, order: Make) -> None:
    sink = io.BytesIO()
    repeated = pa.array(["x" * 20_000]).take(pa.array([0] * 1_000)).dictionary_encode()
    pq.write_table(pa.table({"long": repeated}), sink)
    limits = Limits(table_bytes=1 << 20)
    asked = order(sink.getvalue(), limits).model_copy(
        update={"media_type": "application/vnd.apache.parquet", "options": ReadOptions(types={"long": "text"})}
    )
    with pytest.raises(InvalidInput, match=f"a table of more than {limits.made_bytes(len(sink.getvalue())):,} bytes"):
        asyncio.run(readers.read(asked))


# ---------------------------------------------------------------- what dies
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT])
def test_a_file_that_crashes_its_reader_is_refused_and_the_next_one_is_read(
    number: int, readers: Watched, order: Make
) -> None:
    async def crash() -> None:
        reading = asyncio.create_task(readers.read(order()))
        os.kill(await readers.reader(), number)
        await reading

    with pytest.raises(InvalidInput, match="could not be read"):
        asyncio.run(crash())


def test_a_reader_that_the_kernel_ended_for_want_of_memory_says_to_try_again(readers: Watched, order: Make) -> None:
    async def kill() -> None:
        reading = asyncio.create_task(readers.read(order()))
        os.kill(await readers.reader(), signal.SIGKILL)
        await reading

    with pytest.raises(Unavailable, match="want of memory"):
        asyncio.run(kill())


def test_after_all_readers_were_killed_the_next_file_is_read(readers: Watched, order: Make, tmp_path: Path) -> None:
    async def kill() -> None:
        reading = asyncio.create_task(readers.read(order()))
        process = await readers.reader()
        os.kill(await readers.template(), signal.SIGKILL)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await reading
        (tmp_path / "upload").unlink()
        assert (await readers.read(order(CSV))).rows == 2

    asyncio.run(kill())


def test_who_goes_away_has_the_reader_killed_before_its_folder_is_removed(readers: Watched, order: Make) -> None:
    async def go_away() -> int:
        async def receive() -> dict[str, str]:
            found.append(await readers.reader())
            return {"type": "http.disconnect"}

        found: list[int] = []
        with pytest.raises(ClientDisconnect):
            await while_connected(Request({"type": "http"}, receive), readers.read(order()))
        return found[0]

    assert not Path(f"/proc/{asyncio.run(go_away())}").exists()


def test_nothing_that_reads_outlives_a_service_that_is_killed(order: Make) -> None:
    program = (
        "import asyncio, os, sys; from service.readers import Readers; from service.ingest.orders import Order\n"
        "asyncio.run(Readers().read(Order.model_validate_json(sys.argv[1])))"
    )
    service = subprocess.Popen([sys.executable, "-c", program, order().model_dump_json()])

    async def found() -> tuple[int, int]:
        main = await first_child(service.pid)
        return main, await first_child(main)

    processes = asyncio.run(found())
    service.kill()
    service.wait()
    assert all(map(has_ended, processes))


# ---------------------------------------------------------------- what a reader has
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_reader_logs_has_the_services_form_and_cannot_forge_a_line(
    log_format: LogFormat, order: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    readers = Readers(log_format)
    forged = order(CSV).model_copy(update={"media_type": "x\n2026-11-27 00:00:00,000 ERROR chainrule: all is lost"})
    with pytest.raises(RuntimeError, match="the log says why"):
        asyncio.run(readers.read(forged))
    readers.stop()
    first, *others = capfd.readouterr().err.splitlines()
    if log_format == "json":
        assert (json.loads(first)["message"], others) == ("an uploaded file could not be read", [])
    else:
        assert first.endswith("ERROR chainrule: an uploaded file could not be read")
        assert all(line.startswith("    ") for line in others)


def test_a_reader_has_neither_the_services_environment_nor_its_files(
    monkeypatch: pytest.MonkeyPatch, readers: Watched, order: Make, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHAINRULE_DATABASE_URL", SECRET)
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)

        async def look() -> tuple[list[str], list[str]]:
            reading = asyncio.create_task(readers.read(order()))
            process = await readers.reader()
            environment = Path(f"/proc/{process}/environ").read_text().split("\0")
            links = sorted(Path(f"/proc/{process}/fd").iterdir(), key=lambda link: int(link.name))
            files = [str(link.readlink()) for link in links]
            reading.cancel()
            await asyncio.wait([reading])
            return environment, files

        environment, files = asyncio.run(look())
    assert not [variable for variable in environment if SECRET in variable or variable.startswith("CHAINRULE_")]
    beyond_standard = files[3:]
    assert len([file for file in beyond_standard if file.startswith("socket:")]) == 1
    assert not [file for file in beyond_standard if not file.startswith("socket:")]


def test_the_process_that_is_forked_has_one_thread(readers: Watched, order: Make) -> None:
    async def threads() -> int:
        await readers.read(order(CSV))
        return len(list(Path(f"/proc/{await readers.template()}/task").iterdir()))

    assert asyncio.run(threads()) == 1
