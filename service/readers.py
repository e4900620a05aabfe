"""Reading uploaded files in processes of their own, so that a hostile file harms nothing but the one that reads it."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading

from service.ingest.orders import END_OF_ANSWER, Answer, Order
from service.log import LogFormat
from shared.errors import FieldError, InvalidInput, Unavailable
from shared.table import TableFile

__all__ = ["Readers"]

ENDS_WITHIN_S = 5.0
# What a program needs to run at all. Everything else stays here: the environment may hold a database's password, keys.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}  # it is to be forked

log = logging.getLogger("chainrule")


class Readers:
    """The processes that read files. Their template starts with `start` or with the first file, again where it was
    killed, and ends with `stop` or with this process. What they log, of users' files, has the service's form."""

    def __init__(self, log_format: LogFormat = "text") -> None:
        self._log_format = log_format
        self._lock = threading.Lock()
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Starts the template, which is ready half a second later; repeating is harmless."""
        with self._lock:
            self._running()

    def stop(self) -> None:
        """Ends all of them. Repeating is harmless."""
        with self._lock:
            self._end()

    async def read(self, order: Order) -> TableFile:
        """Has a file read. Cancelled, it returns when the process has ended.

        Raises InvalidInput naming row, column and cell where the file is wrong, or for one that needs too much memory
        or time or kills its reader; OSError for what is wrong with the machine; Unavailable when something else did.
        """
        channel, theirs = socket.socketpair()
        with theirs:
            try:
                self._send(order, theirs)
            except BaseException:
                channel.close()
                raise
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        try:
            told = await _all_of(reader, order.limits.told_bytes)
        finally:
            writer.write_eof()  # has the process killed, if it still runs
            while await reader.read(1 << 16):
                pass
            writer.close()
        return await asyncio.to_thread(_table, told, order)  # of megabytes, which takes long

    def _send(self, order: Order, channel: socket.socket) -> None:
        message = [order.model_dump_json().encode()]
        with self._lock:
            try:
                socket.send_fds(self._running(), message, [channel.fileno()])
            except OSError:  # it was killed a moment ago
                self._end()
                socket.send_fds(self._running(), message, [channel.fileno()])

    def _running(self) -> socket.socket:
        """The socket that takes orders."""
        if self._control is None or self._template is None or self._template.poll() is not None:
            self._end()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._template = subprocess.Popen(
                    [sys.executable, "-P", "-m", "service.ingest.reader", str(theirs.fileno()), self._log_format],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | ONE_THREAD,
                )
            self._control = ours
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._template is not None:
            try:
                self._template.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._template.kill()
                self._template.wait()
        self._control = self._template = None


async def _all_of(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    """All that arrives. Raises InvalidInput if that is more than a table may have to tell."""
    told = bytearray()
    while chunk := await reader.read(1 << 16):
        told += chunk
        if len(told) > max_bytes:
            got = f"names and categories of more than {max_bytes >> 20} MiB"
            raise InvalidInput.of("body", got, "shorter ones; give types=COLUMN:text to columns of long texts")
    return bytes(told)


def _table(told: bytes, order: Order) -> TableFile:
    """What a process's answer and the way that it ended mean. What it says of the order itself is not believed."""
    said, _, status = told.partition(END_OF_ANSWER)
    if not said.endswith(b"\n"):
        raise _no_answer(int(status) if status else None, order)
    answer = Answer.model_validate(json.loads(said))
    if answer.table is not None:
        known = {"dataset_id": order.dataset_id, "sha256": order.sha256, "path": str(order.folder / "table.arrow")}
        return answer.table.model_copy(update=known)
    if answer.machine is not None:
        raise OSError(*answer.machine)
    if answer.out_of_memory:
        got = f"a file that needs more than {order.limits.memory_bytes >> 20:,} MiB of memory to be read"
        raise InvalidInput.of("body", got, "a smaller file, or one of fewer columns")
    raise InvalidInput([FieldError(wrong.field, wrong.got, wrong.expected) for wrong in answer.errors or ()])


def _no_answer(status: int | None, order: Order) -> Exception:
    """What it means to the user. `status`: as of `Popen.returncode`; None when the template was killed too."""
    if status is None or -status == signal.SIGKILL:
        return Unavailable("what reads files was killed, perhaps for want of memory; try again in a moment", 5)
    if status >= 0:
        return RuntimeError(f"the reader of {order.dataset_id} ended with status {status}; the log says why")
    if -status in (signal.SIGXCPU, signal.SIGALRM):
        cpu_s = order.limits.cpu_s(order.source.stat().st_size)
        return InvalidInput.of("body", f"a file that needs more than {cpu_s} s to be read", "a smaller file")
    ended_by = signal.strsignal(-status)
    log.warning("the reader of %s was ended by a signal: %s", order.dataset_id, ended_by)
    return InvalidInput.of("body", f"a file that could not be read ({ended_by})", "a whole file of its kind")
