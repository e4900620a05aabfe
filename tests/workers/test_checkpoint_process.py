"""A process writes checkpoints from shared memory, gives way to everybody else, and ends with whoever started it."""

import fcntl
import mmap
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import at, same, steps_in
from workers.checkpoint import Checkpoint, header_of, newest, tensors_of
from workers.checkpoint_process import (
    PIECE_BYTES,
    RESTS_AT_MOST_S,
    RESTS_S,
    CheckpointProcess,
    FlushingDisk,
    Pieces,
    ProcessFailed,
)
from workers.checkpoint_writer import CheckpointWriter
from workers.fence import Fence
from workers.storage import Folder


class Beside:
    """A writer whose process writes into a folder, what it told, and the processes that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told, self.now = Folder(folder), [], 0.0
        self.started: list[CheckpointProcess] = []
        self.writer = CheckpointWriter(self.folder, None, 0.0, self._tell, lambda: self.now, self._start(folder))

    def _start(self, folder: Path) -> Any:
        def start(sizes: Any) -> CheckpointProcess:
            self.started.append(CheckpointProcess(None, folder, sizes))
            return self.started[-1]

        return start

    def _tell(self, kind: str, **data: Any) -> None:
        self.told.append((kind, *data.values()))  # type: ignore[arg-type]

    def write(self, what: Checkpoint) -> OSError | None:
        while not self.writer.is_due(what.server):
            self.writer.finish(lambda: None)
        self.writer.begin(what)
        return self.writer.finish(lambda: None)


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    found = Beside(tmp_path / "checkpoints")
    yield found
    found.writer.close()
    assert all(process.has_ended for process in found.started)


def pid_of(process: CheckpointProcess) -> int:
    return process._process.pid


def kill(process: CheckpointProcess) -> None:
    os.kill(pid_of(process), signal.SIGKILL)
    process._process.wait()


def unread_by(process: CheckpointProcess) -> int:
    """How many bytes it has been sent and has not read."""
    return int.from_bytes(fcntl.ioctl(process._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_what_a_process_wrote_is_read_back_and_old_ones_are_removed(beside: Beside) -> None:
    for step in (1, 2, 3):
        assert beside.write(at(step)) is None
    assert [told[:2] for told in beside.told] == [("checkpoint", step) for step in (1, 2, 3)]
    assert len(beside.started) == 1
    assert same(newest(beside.folder)[0], at(3))
    assert steps_in(beside.folder) == [2, 3]


def test_it_takes_only_what_others_leave_of_the_cpus(beside: Beside) -> None:
    beside.write(at(1))
    process, ours = pid_of(beside.started[0]), os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process) == min(19, ours + 10), "and of two that want one, a tenth at least"
    assert os.sched_getscheduler(process) == os.SCHED_BATCH


def test_a_state_that_has_got_another_vector_has_another_process(beside: Beside) -> None:
    beside.write(at(1, best=False))
    beside.write(at(2, best=True))
    assert [process.has_ended for process in beside.started] == [True, False]
    assert same(newest(beside.folder)[0], at(2))


def test_a_process_that_was_killed_is_followed_by_another(beside: Beside) -> None:
    beside.write(at(1))
    kill(beside.started[0])
    assert beside.write(at(2)) is None
    assert same(newest(beside.folder)[0], at(2))
    assert len(beside.started) == 2


def test_a_process_that_is_killed_while_it_writes_is_told_as_what_keeps_checkpoints_from_being_written(
    beside: Beside,
) -> None:
    beside.write(at(1))
    os.kill(pid_of(beside.started[0]), signal.SIGSTOP)
    beside.writer.is_due(at(2).server)
    beside.writer.begin(at(2))
    while not unread_by(beside.started[0]):  # else the thread would see that it is gone, and write itself
        os.sched_yield()
    kill(beside.started[0])
    assert isinstance(beside.writer.finish(lambda: None), OSError)
    why = "checkpoints cannot be written (what writes them was ended by SIGKILL): that of step 1 is kept"
    assert beside.told[-1][1].startswith(why)
    assert steps_in(beside.folder) == [1], "nothing truncated is there"


def test_a_process_that_hangs_is_ended_and_a_thread_writes_instead(beside: Beside) -> None:
    beside.write(at(1))
    process = beside.started[0]
    os.kill(pid_of(process), signal.SIGSTOP)
    process._socket.settimeout(0.05)
    assert isinstance(beside.write(at(2)), ProcessFailed)
    assert beside.told[-1][1].startswith("checkpoints cannot be written (what writes them did not answer)")
    assert process.has_ended
    beside.now = 10.0
    assert beside.write(at(3)) is None
    assert len(beside.started) == 1
    assert same(newest(beside.folder)[0], at(3))


def test_what_the_disk_says_reaches_the_one_who_asked(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder is wanted")
    beside = Beside(tmp_path / "checkpoints")
    error = beside.write(at(1))
    assert isinstance(error, FileExistsError | NotADirectoryError)
    assert beside.told[0][0] == "trouble"
    assert str(tmp_path) not in beside.told[0][1]
    beside.writer.close()


def test_where_no_process_can_be_started_a_thread_writes(tmp_path: Path) -> None:
    def cannot(sizes: Any) -> CheckpointProcess:
        raise OSError("no room for another process")

    told: list[str] = []
    folder = Folder(tmp_path)
    writer = CheckpointWriter(folder, None, 0.0, lambda kind, **_: told.append(kind), lambda: 0.0, cannot)
    assert not writer.is_due(at(1).server)
    writer.finish(lambda: None)
    assert writer.is_due(at(1).server)
    writer.begin(at(1))
    writer.close()
    assert (told, steps_in(folder)) == (["checkpoint"], [1])


def test_it_ends_when_whoever_started_it_is_gone(tmp_path: Path) -> None:
    process = CheckpointProcess(None, tmp_path, {})
    process._lines.close()
    process._socket.close()
    assert process._process.wait(30) == 0


def test_it_writes_no_more_once_the_attempt_was_given_up(tmp_path: Path) -> None:
    fence = Fence(tmp_path, 1)
    fence.take()
    process = CheckpointProcess(None, tmp_path / "checkpoints", {}, mark=fence.mark)
    process.write(1, b"whole", [])
    fence.close()
    with pytest.raises(FileNotFoundError, match="given up"):
        process.write(2, b"too late", [])
    process.close()
    assert steps_in(Folder(tmp_path / "checkpoints")) == [1]


def test_it_rests_after_each_piece_unless_somebody_is_in_a_hurry() -> None:
    rests: list[float] = []
    is_urgent = False
    parts = [b"header", bytes(3 * PIECE_BYTES), bytes(PIECE_BYTES + 1)]
    pieces = Pieces(parts, lambda: is_urgent, rests.append)
    assert b"".join(pieces) == b"".join(parts)
    assert rests == [RESTS_S] * 4
    is_urgent = True
    assert b"".join(pieces) == b"".join(parts)
    assert len(rests) == 4


def test_what_is_small_is_written_without_a_rest() -> None:
    rests: list[float] = []
    list(Pieces([b"header", b"parameters", b"slots"], lambda: False, rests.append))
    assert rests == []


def test_what_is_large_does_not_rest_for_ever_while_it_is_hashed_and_written() -> None:
    rests: list[float] = []
    pieces = Pieces([memoryview(mmap.mmap(-1, 1000 * PIECE_BYTES))], lambda: False, rests.append)
    for _ in range(2):
        list(pieces)
    assert sum(rests) == pytest.approx(RESTS_AT_MOST_S, rel=0.01)


def test_what_is_flushed_piece_by_piece_is_there_whole(tmp_path: Path) -> None:
    parts = [b"header", os.urandom(PIECE_BYTES), os.urandom(10), os.urandom(PIECE_BYTES - 1)]
    FlushingDisk().write(tmp_path / "file", parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_somebody_is_in_a_hurry_while_a_checkpoint_is_waited_for(beside: Beside) -> None:
    beside.write(at(1))
    [process] = beside.started
    assert process._hurry[0]
    beside.writer.is_due(at(2).server)
    beside.writer.begin(at(2))
    assert not process._hurry[0]
    beside.writer.finish(lambda: None)
    assert process._hurry[0]


def test_it_imports_neither_numpy_nor_numba_so_that_it_is_there_soon_and_small() -> None:
    asked = "import sys, workers.checkpoint_process; print({'numpy', 'numba', 'pydantic', 'ray'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-P", "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_a_header_longer_than_any_socket_takes_at_once_arrives(beside: Beside) -> None:
    large = at(1)
    large.memory["untold"] = ["x" * 1000] * 2000
    assert beside.write(large) is None
    assert same(newest(beside.folder)[0], large)
    assert len(header_of(1, tensors_of(large.server), large.memory)) > 2_000_000
