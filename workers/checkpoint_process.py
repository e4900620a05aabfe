"""A process that writes checkpoints, so that steps wait neither for its work nor for the interpreter.

A thread of the coordinator's process could not give way to the steps: whenever it wants the interpreter back, whoever
computes waits until it has had it, and the less of a CPU it is given, the longer that takes. This process runs on what
the steps leave of the CPUs, or a tenth of one. It shares the memory that the state is copied to, imports little, and
ends when its coordinator does.

That alone is not enough, as memory and caches know no priority, and the kernel writes to the disk at its own urgency
rather than at that of whoever has it written. So it takes a piece at a time, has each on the disk before the next, and
rests in between, unless somebody waits for it.

    python -P -m workers.checkpoint_process SOCKET

Both sides send lines of JSON: the place and the memory first, then an order for each checkpoint, with its header after
it; each is answered by null, or by what went wrong.
"""

import ctypes
import errno
import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from workers.checkpoint_files import write
from workers.disk import Disk, FencedDisk, Parts
from workers.storage import StorageAway, storage_at

__all__ = ["CheckpointProcess", "FlushingDisk", "Pieces", "ProcessFailed"]

HURRY = "hurry"  # the name of a byte, among those of the vectors
ENDS_WITHIN_S = 60.0  # from what it writes now
ANSWERS_WITHIN_S = 60.0  # and more for what is large, as storage may be slow
SLOWEST_BYTES_PER_S = 2e6
PIECE_BYTES = 1 << 20
RESTS_S = 0.03  # between two pieces …
RESTS_AT_MOST_S = 5.0  # … and in all …
TIMES = 2  # … as often as the pieces are gone through: they are hashed, and then written
GIVES_WAY_BY = 10  # of the 19 steps of niceness, each a quarter more or less of a CPU
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class ProcessFailed(OSError):
    """A process has ended with an error, or did not answer in time, be it that others leave it nothing of the CPUs, and
    has been ended."""


class CheckpointProcess:
    """One process, for one job, and the memory that it writes from; `close` ends it.

    Args:
        url: where the checkpoints are kept; None: in `folder`.
        sizes: of each vector of the state, in bytes, by name.
        answers_within_s: after which it is given up, and ended, besides what its work takes at the slowest.
        mark: a file without which no more checkpoints are to appear (`workers/fence.py`).

    Raises OSError when it cannot be started.
    """

    def __init__(
        self,
        url: str | None,
        folder: Path,
        sizes: Mapping[str, int],
        answers_within_s: float = ANSWERS_WITHIN_S,
        mark: Path | None = None,
    ) -> None:
        sizes = {**sizes, HURRY: 1}
        files = {name: os.memfd_create("chainrule-checkpoint") for name in sizes}
        try:
            self.memory = {name: _mapped(file, sizes[name]) for name, file in files.items()}
            self._hurry = self.memory.pop(HURRY)
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "workers.checkpoint_process", str(theirs.fileno())],
                    pass_fds=[theirs.fileno(), *files.values()],
                    stdin=subprocess.DEVNULL,
                )
        finally:
            for file in files.values():
                os.close(file)
        self._socket.settimeout(answers_within_s + sum(sizes.values()) / SLOWEST_BYTES_PER_S)
        self._lines = self._socket.makefile("rb")
        vectors = {name: (file, sizes[name]) for name, file in files.items()}
        try:
            place = {"url": url, "folder": str(folder), "mark": None if mark is None else str(mark)}
            self._ask({**place, "vectors": vectors})
        except BaseException:
            self.close()
            raise

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def write(self, step: int, header: bytes, names: Sequence[str], damaged: Sequence[str] = ()) -> None:
        """Writes the checkpoint that those vectors make, as they lie in the memory, and removes superseded ones.

        Raises OSError, of which ProcessFailed says that the process is of no use.
        """
        order = {"step": step, "header_bytes": len(header), "vectors": list(names), "damaged": list(damaged)}
        self._ask(order, header)

    def hurry(self, please: bool) -> None:
        """Whether somebody waits for what is written, now and from now on."""
        self._hurry[0] = please

    def close(self) -> None:
        """Ends the process once it has written what it was told to. Repeating is harmless."""
        self.hurry(True)
        self._lines.close()
        self._socket.close()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, order: dict[str, Any], content: bytes = b"") -> None:
        try:
            self._socket.sendall(json.dumps(order).encode() + b"\n" + content)
            answer = self._lines.readline()
        except ConnectionError:
            answer = b""
        except TimeoutError:
            self._process.kill()  # or it might go on some time, beside whoever writes in its place
            self._process.wait()
            raise ProcessFailed(errno.EIO, "what writes them did not answer") from None
        if not answer:
            raise _end(self._process.wait())
        trouble = json.loads(answer)
        if trouble is not None:
            number, words, is_away = trouble
            raise StorageAway(words) if is_away else OSError(number, words)


def _mapped(file: int, size: int) -> mmap.mmap:
    os.ftruncate(file, size)
    return mmap.mmap(file, size)


def _end(status: int) -> OSError:
    """What it means that the process is gone."""
    if status < 0:
        return OSError(errno.EIO, f"what writes them was ended by {signal.Signals(-status).name}")
    return ProcessFailed(errno.EIO, f"what writes them ended with status {status}")


# ---------------------------------------------------------------- in the process
def main(channel: socket.socket) -> None:
    """Writes what it is told to, until nobody is there to tell it."""
    _die_with_parent()
    lines = channel.makefile("rb")
    place = json.loads(lines.readline())
    try:
        vectors = {name: _shared(file, size) for name, (file, size) in place["vectors"].items()}
        hurry = vectors.pop(HURRY)
        disk = FlushingDisk() if place["mark"] is None else FencedDisk(FlushingDisk(), Path(place["mark"]))
        storage = storage_at(place["url"], Path(place["folder"]), disk)
    except OSError as error:
        channel.sendall(_trouble(error))
        return
    channel.sendall(b"null\n")
    _give_way()
    while line := lines.readline():
        order = json.loads(line)
        header = lines.read(order["header_bytes"])
        try:
            parts: Parts = [header, *(vectors[name] for name in order["vectors"])]
            write(storage, order["step"], Pieces(parts, lambda: hurry[0] != 0), order["damaged"])
        except OSError as error:
            channel.sendall(_trouble(error))
        else:
            channel.sendall(b"null\n")


class Pieces(Sequence[memoryview]):
    """Parts in pieces, with a rest after each PIECE_BYTES that are taken, unless somebody is in a hurry."""

    def __init__(self, parts: Parts, hurry: Callable[[], bool], rest: Callable[[float], None] = time.sleep) -> None:
        views = [memoryview(part) for part in parts]
        self._pieces = [view[at : at + PIECE_BYTES] for view in views for at in range(0, len(view), PIECE_BYTES)]
        self._hurry, self._rest = hurry, rest
        rests = max(1, TIMES * (sum(map(len, views)) // PIECE_BYTES))
        self._rests_s = min(RESTS_S, RESTS_AT_MOST_S / rests)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, number: Any) -> Any:
        return self._pieces[number]

    def __iter__(self) -> Iterator[memoryview]:
        taken = 0
        for piece in self._pieces:
            if taken >= PIECE_BYTES:
                taken = 0
                if not self._hurry():
                    self._rest(self._rests_s)
            yield piece
            taken += len(piece)


class FlushingDisk(Disk):
    """Leaves the kernel no more than PIECE_BYTES to write out at once."""

    piece_bytes = PIECE_BYTES

    def write(self, path: Path, parts: Parts) -> None:
        unflushed = 0
        with path.open("wb", buffering=0) as file:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    written = file.write(rest)
                    rest = rest[written:]
                    unflushed += written
                if unflushed >= self.piece_bytes:
                    self.flush_piece(file)
                    unflushed = 0

    def flush_piece(self, file: FileIO) -> None:
        """Waits until what has been written to an open file is on disk."""
        os.fdatasync(file.fileno())


def _die_with_parent() -> None:
    """Has the kernel end this process with the thread that started it: an order of a coordinator that was killed must
    not be carried out beside the next attempt."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _give_way() -> None:
    """Has this process wait for others, which get some ten times as much of a CPU that both want. A tenth it must have:
    SCHED_IDLE leaves it a three-hundredth, which is too little where other programs keep all CPUs busy."""
    os.nice(GIVES_WAY_BY)
    with suppress(PermissionError):  # where that is not allowed, it may interrupt a step when it has something to do
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _trouble(error: OSError) -> bytes:
    words = error.strerror or type(error).__name__
    return json.dumps([error.errno, words, isinstance(error, StorageAway)]).encode() + b"\n"


def _shared(file: int, size: int) -> memoryview:
    """The memory, which is allocated and mapped here: that takes long, and nobody waits for this process yet."""
    os.posix_fallocate(file, 0, size)
    memory = memoryview(mmap.mmap(file, size, mmap.MAP_SHARED | mmap.MAP_POPULATE))
    os.close(file)
    return memory


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with suppress(ConnectionError):  # nobody is there to be told
        main(socket.socket(fileno=int(sys.argv[1])))
