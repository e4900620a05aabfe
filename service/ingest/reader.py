"""The program that reads uploaded files, each in a process of its own: python -m service.ingest.reader FD FORMAT.

It imports once what reading needs, and forks for each order, which takes milliseconds. An order comes through the
socket FD, with one end of another socket: through that the process answers, and this program then says how the process
ended. Who closes the other end has the process killed. When FD is closed, all of them are killed and the program ends,
so that nothing outlives the service, however that ends. What is logged has the FORMAT of `service.log`.
"""

import errno
import gc
import json
import logging
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from service.datasets import ingest
from service.ingest.orders import END_OF_ANSWER, MAX_ORDER_BYTES, Answer, Limits, Order, WrongField
from service.log import begin
from shared.errors import InvalidInput, shown

AT_ONCE = 4  # files that are read at the same time; others wait
AT_ONCE_FOR_ONE = AT_ONCE - 1  # of one tenant: slow files of one never keep those of all others waiting
WALL_PER_CPU = 5  # how much longer than its CPU time a process may take, on a machine that others use too
NO_THREAD = "can't start new thread"  # Python's words where there is no memory for its stack
SECONDS_TO_DIE = 5  # after SIGXCPU, which tells what it died of, SIGKILL

log = logging.getLogger("chainrule")


class Running(NamedTuple):
    """A process that reads, the channel that it answers through, and for whom."""

    process: int
    channel: socket.socket
    tenant: str


def next_of(running: Sequence[str], waiting: Sequence[str]) -> int | None:
    """Which of the tenants that wait is next, given those for whom files are read: the first that may have one more."""
    if len(running) >= AT_ONCE:
        return None
    return next((index for index, tenant in enumerate(waiting) if running.count(tenant) < AT_ONCE_FOR_ONE), None)


class Template:
    """The process that others are forked from; `run` returns when the service is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[Order, socket.socket]] = []
        self._running: dict[int, Running] = {}  # by pidfd

    def run(self) -> None:
        self._selector.register(self._control, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    if not self._take_order():
                        self._kill_all()
                        return
                elif key.data is None:
                    self._end(key.fd)
                elif key.fileobj in self._selector.get_map():  # it may have ended in this very moment
                    self._selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)  # not waited for yet, so the number is still its own
            while (index := next_of(self._tenants(), [order.tenant for order, _ in self._waiting])) is not None:
                self._start(*self._waiting.pop(index))

    def _take_order(self) -> bool:
        order, files, _, _ = socket.recv_fds(self._control, MAX_ORDER_BYTES, 1)
        if files:
            self._waiting.append((Order.model_validate_json(order), socket.socket(fileno=files[0])))
        return bool(order)

    def _tenants(self) -> list[str]:
        return [running.tenant for running in self._running.values()]

    def _start(self, order: Order, channel: socket.socket) -> None:
        process = os.fork()
        if process == 0:
            _read_and_exit(order, channel)
        ended = os.pidfd_open(process)
        self._running[ended] = Running(process, channel, order.tenant)
        self._selector.register(ended, selectors.EVENT_READ)
        self._selector.register(channel, selectors.EVENT_READ, process)  # readable once the other end is closed

    def _end(self, ended: int) -> None:
        """Says how a process ended."""
        process, channel, _ = self._running.pop(ended)
        self._selector.unregister(ended)
        os.close(ended)
        if channel.fileno() in self._selector.get_map():
            self._selector.unregister(channel)
        _, status = os.waitpid(process, 0)
        with channel, suppress(OSError):  # nobody listens any more, or there is a whole answer that is not read yet
            channel.send(END_OF_ANSWER + str(os.waitstatus_to_exitcode(status)).encode(), socket.MSG_DONTWAIT)

    def _kill_all(self) -> None:
        for running in self._running.values():
            os.kill(running.process, signal.SIGKILL)


# ---------------------------------------------------------------- the process of one file
def _read_and_exit(order: Order, channel: socket.socket) -> None:
    """All of a forked process. It keeps nothing open but its channel and the log."""
    status = 1
    try:
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, 1 + max(map(int, os.listdir("/proc/self/fd"))))  # noqa: PTH208
        answer = _answer(order)
        channel.sendall(json.dumps(answer.model_dump(exclude_unset=True)).encode() + b"\n")
        status = 0
    except Exception:
        log.exception("an uploaded file could not be read")
    finally:
        os._exit(status)


def _answer(order: Order) -> Answer:
    try:
        size_bytes = order.source.stat().st_size
        _limit(order.limits, size_bytes)
        return Answer(
            table=ingest(order.source, order.media_type, order.options, order.folder, order.dataset_id, order.sha256)
        )
    except InvalidInput as error:
        return Answer(
            errors=[
                WrongField(field=wrong.field, got=shown(wrong.got), expected=wrong.expected) for wrong in error.errors
            ]
        )
    except (MemoryError, SystemError):  # the latter in the middle of an import, as CPython 3.11 tells it
        return Answer(out_of_memory=True)
    except RuntimeError as error:
        if NO_THREAD not in str(error):
            raise
        return Answer(out_of_memory=True)
    except OSError as error:
        if error.errno is None:
            raise
        if error.errno == errno.EFBIG:
            got = f"a table of more than {order.limits.made_bytes(size_bytes):,} bytes"
            return Answer(errors=[WrongField(field="body", got=got, expected="a smaller one")])
        return Answer(machine=(error.errno, os.strerror(error.errno)))


def _limit(limits: Limits, size_bytes: int) -> None:
    """What the kernel holds this process to, for good."""
    cpu_s = limits.cpu_s(size_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + SECONDS_TO_DIE))
    made_bytes = limits.made_bytes(size_bytes)
    resource.setrlimit(resource.RLIMIT_FSIZE, (made_bytes, made_bytes))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    signal.alarm(WALL_PER_CPU * cpu_s)


if __name__ == "__main__":
    begin("json" if sys.argv[2] == "json" else "text")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the service decides when this ends
    with suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("1000")  # where the machine has no memory left, the kernel ends this first, and no training
    gc.freeze()  # what forked processes share is not written to
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        Template(orders).run()
