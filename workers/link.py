"""The gradient workers of one node: the first computes in this process, the others share its memory, and a socket is
the doorbell.

The memory is anonymous (memfd): it has no name, needs no room in /dev/shm, and is gone with the last process that holds
it, however that ends. So is the socket's abstract address. A worker proves itself twice: by the user that its process
runs as, which the kernel tells, and by a secret that came with its orders. What travels is fixed structs and
safetensors; nothing is unpickled.
"""

import hmac
import mmap
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from safetensors.numpy import load, save

from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.sharding import Node
from workers.blas import kernel_in_use
from workers.deadline import Deadline
from workers.gradient_worker import GradientWorker, Part
from workers.job import AttemptLost, InternalError, OutOfMemory, PreparedGone, WorkerLost
from workers.threads import waited
from workers.transport import Vectors, busy, slices_of

__all__ = [
    "Entrance",
    "Links",
    "Opening",
    "Staff",
    "pack_measure",
    "pack_parts",
    "serve",
    "unpack_measure",
    "unpack_part",
]

JOINS_WITHIN_S: Final = 10.0  # a process that has started; one that still computes for us may take a step longer
OPENS_WITHIN_S: Final = 60.0  # with its data and its memory
LOOK_FOR_JOINERS_EVERY_S: Final = 0.05
SAYS_HELLO_WITHIN_S: Final = 10.0
ENDS_WITHIN_S: Final = 0.5  # for a worker that hung up to be told as ended
LOOK_UP_EVERY_S: Final = 1.0  # from waiting for an answer, to see whether a silent worker still lives
PATIENCE_S: Final = 0.0003  # a few times what it takes to be woken, on a virtual machine
SECRET_BYTES: Final = 32

HELLO: Final = struct.Struct(f"={SECRET_BYTES}sI32s")  # secret, worker, its BLAS kernel
WELCOME: Final = struct.Struct("=d")  # for how long to look for orders without sleeping; comes with the memory
READY: Final = b"r"
OPENING: Final = b"o"  # said again and again until then
SAYS_SO_EVERY_S: Final = 1.0
STEP: Final = 1
MEASURE: Final = 2
ASK: Final = struct.Struct("=BqII")  # STEP or MEASURE, step, first and stop of shards or slices
ANSWER: Final = struct.Struct("=qI")  # step, or slice; and how many parts follow, or bytes
PART: Final = struct.Struct("=IIId")  # first and stop of the subtree, row, loss


class Entrance(NamedTuple):
    """Where workers join, and the secret that lets them in."""

    address: bytes
    secret: bytes


class Staff(Protocol):
    """The processes of gradient workers, as whoever supervises them offers them."""

    def start(self, worker: int, entrance: Entrance, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        """Has a worker's process call `serve`; returns at once."""

    def look(self, worker: int) -> None:
        """Raises what ended a worker's process, or AttemptLost, if it has ended."""


class Links:
    """The side of the party that asks: the parameter server, or the relay of another node.

    It computes what falls to the first worker of its node itself, between asking the others and hearing from them: so
    there are as many processes as CPUs, and none has to wait for another to be switched away from.

    Args:
        plan: the job's.
        members: the workers of this node.
        held: the workers for whose gradients there is room, the members among them.
        workers: how many the job has in all.
        make: how the first worker is made.
        deadline: for each answer.

    Raises OSError when the memory cannot be had. All that asks a worker raises WorkerLost if it has died or is silent
    for too long, and what ended it if that was an error of its own.
    """

    def __init__(
        self,
        plan: Plan,
        members: range,
        held: range,
        workers: int,
        make: type[GradientWorker] = GradientWorker,
        deadline: Deadline | None = None,
    ) -> None:
        self.members, self.workers = members, workers
        self._deadline = deadline or Deadline(plan)
        self.kernels = {kernel_in_use()}  # the BLAS kernels that the members compute with
        self._plan, self._held, self._make = plan, held, make
        self._others = members[1:]
        self._patience_s = _patience_s(len(members))
        self._sockets: dict[int, socket.socket] = {}
        self._memory_fd, self.memory = _shared_memory(Vectors.size_bytes(plan, held, workers))
        self.vectors = Vectors(plan, held, workers, self.memory)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.entrance = Entrance(b"\0chainrule-" + secrets.token_hex(16).encode(), secrets.token_bytes(SECRET_BYTES))
        try:
            self._door.bind(self.entrance.address)
            self._door.listen()
        except OSError:
            self.close()
            raise

    def open(self, staff: Staff, prepared: Path, heed: Callable[[], None] = lambda: None) -> None:
        """Makes all members ready. Whenever they are waited for, `heed` is called now and then, and may raise."""
        self._staff, self._heed = staff, heed
        for worker in self._others:
            staff.start(worker, self.entrance, self._held, self.workers, self._plan, prepared)
        joins_within_s = max(JOINS_WITHIN_S, self._deadline.within_s)
        first = self.members[0]
        mine = self.vectors.parameters, self.vectors.gradients_of(first)
        self._own = waited(partial(self._make, self._plan, prepared, *mine), heed)
        until, looks_at = time.monotonic() + joins_within_s, 0.0
        self._door.settimeout(LOOK_FOR_JOINERS_EVERY_S)
        while missing := [worker for worker in self._others if worker not in self._sockets]:
            with suppress(TimeoutError):
                self._let_in(self._door.accept()[0])
            if time.monotonic() > looks_at:  # also while somebody keeps knocking
                looks_at = time.monotonic() + LOOK_FOR_JOINERS_EVERY_S
                heed()
                for worker in missing:
                    self._look(worker)
                if looks_at > until:
                    raise WorkerLost(
                        f"gradient worker {missing[0]} did not come within {joins_within_s:.0f} s", missing
                    )
        self._door.close()
        for worker in self._others:
            self._await_ready(worker)

    def _await_ready(self, worker: int) -> None:
        """One that hangs falls silent; one that is slow says that it is still opening."""
        began = time.monotonic()
        while self._receive(worker, len(READY)) != READY:
            self._heed()
            if time.monotonic() - began > OPENS_WITHIN_S:
                raise WorkerLost(f"gradient worker {worker} was not ready within {OPENS_WITHIN_S:.0f} s", [worker])

    def _let_in(self, joined: socket.socket) -> None:
        """Hands the memory to whoever knows the secret, and hangs up on everybody else."""
        credentials = joined.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        joined.settimeout(SAYS_HELLO_WITHIN_S)
        try:
            if struct.unpack("3i", credentials)[1] != os.getuid():
                raise ConnectionError("another user's process")
            secret, worker, kernel = HELLO.unpack(_receive(joined, HELLO.size))
            if not hmac.compare_digest(secret, self.entrance.secret) or worker not in self._others:
                raise ConnectionError("a wrong secret")
            socket.send_fds(joined, [WELCOME.pack(self._patience_s)], [self._memory_fd])
        except (OSError, EOFError):
            joined.close()
            return
        joined.settimeout(None)
        # The kernel's own timeout keeps the socket blocking: half the system calls of Python's.
        seconds, microseconds = divmod(round(LOOK_UP_EVERY_S * 1_000_000), 1_000_000)
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, microseconds))
        self._sockets[worker] = joined
        self.kernels.add(kernel.rstrip(b"\0").decode("ascii", "replace"))

    def gradients(self, step: int) -> list[Part]:
        """Has the members' gradients of a step computed; the parts' rows are counted within all gradients."""
        first, mine, asked = self.members[0], None, []
        for worker, shards in busy(self._plan, step, self.workers):
            if worker == first:
                mine = shards
            elif worker in self._others:
                self._send(worker, ASK.pack(STEP, step, shards.start, shards.stop))
                asked.append(worker)
        parts = []
        if mine is not None:
            parts += self.vectors.placed(first, self._own.gradients(step, mine))
            if self._patience_s:  # else there is no idle CPU to do it: others still compute for this step
                self._own.look_ahead(step + 1, mine)
        for worker in asked:
            answered, count = ANSWER.unpack(self._receive(worker, ANSWER.size))
            if answered != step:
                raise AttemptLost(f"gradient worker {worker} answered step {answered}, expected {step}")
            told = PART.iter_unpack(self._receive(worker, count * PART.size))
            parts += self.vectors.placed(worker, [unpack_part(each) for each in told])
        return parts

    def measures(self) -> Iterator[tuple[int, bytes]]:
        """Has the members' validation slices measured: each packed, with its slice's number, as they come."""
        slices = slices_of(self._plan, self.workers)
        missing = {worker: len(slices[worker]) for worker in self._others}
        for worker in self._others:
            self._send(worker, ASK.pack(MEASURE, 0, slices[worker].start, slices[worker].stop))
        heard = dict.fromkeys(missing, time.monotonic())
        for index, measure in self._own.evaluate(slices[self.members[0]]):
            yield index, pack_measure(measure)
            self._heed()  # our own slices may last minutes
            for worker in [worker for worker, count in missing.items() if count]:
                if _has_come(self._sockets[worker]):
                    yield self._measure_of(worker)
                    missing[worker], heard[worker] = missing[worker] - 1, time.monotonic()
                elif time.monotonic() - heard[worker] > self._deadline.slice_within_s:
                    raise self._silent(worker, time.monotonic() - heard[worker])
        for worker, count in missing.items():
            for _ in range(count):
                yield self._measure_of(worker)

    def _measure_of(self, worker: int) -> tuple[int, bytes]:
        index, size = ANSWER.unpack(self._receive(worker, ANSWER.size, self._deadline.slice_within_s))
        return index, self._receive(worker, size)

    def close(self) -> None:
        """Hangs up, upon which the workers leave. Repeating is harmless."""
        self._door.close()
        for joined in self._sockets.values():
            joined.close()
        self._sockets.clear()
        if self._memory_fd >= 0:
            os.close(self._memory_fd)
            self._memory_fd = -1

    def _send(self, worker: int, message: bytes) -> None:
        try:
            self._sockets[worker].sendall(message)
        except OSError as error:
            raise self._gone(worker) from error

    def _receive(self, worker: int, size: int, within_s: float | None = None) -> bytes:
        began = time.monotonic()

        def on_silence() -> None:
            self._heed()
            self._look(worker)
            silent_s = time.monotonic() - began
            if silent_s > (within_s or self._deadline.within_s):
                raise self._silent(worker, silent_s)

        try:
            return _receive(self._sockets[worker], size, self._patience_s, on_silence)
        except (EOFError, OSError) as error:
            raise self._gone(worker) from error

    @staticmethod
    def _silent(worker: int, for_s: float) -> WorkerLost:
        return WorkerLost(f"gradient worker {worker} was silent for {for_s:.0f} s", [worker])

    def _look(self, worker: int) -> None:
        """Raises what ended that worker, if anything."""
        try:
            self._staff.look(worker)
        except (InternalError, OutOfMemory, PreparedGone):  # which would come again
            raise
        except AttemptLost as loss:
            raise WorkerLost(f"gradient worker {worker} was lost: {loss}", [worker]) from loss

    def _gone(self, worker: int) -> WorkerLost:
        """A worker hung up: raises what ended it, which its supervisor may hear of a little later than we."""
        until = time.monotonic() + ENDS_WITHIN_S
        while time.monotonic() < until:
            self._look(worker)
            time.sleep(ENDS_WITHIN_S / 100)
        return WorkerLost(f"gradient worker {worker} hung up", [worker])


def serve(
    entrance: Entrance,
    worker: int,
    held: range,
    workers: int,
    plan: Plan,
    prepared: Path,
    make: type[GradientWorker] = GradientWorker,
) -> None:
    """A gradient worker's side: joins, and computes what it is asked for until the other side hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as joined:
        joined.connect(entrance.address)
        joined.sendall(HELLO.pack(entrance.secret, worker, kernel_in_use().encode()))
        welcome, descriptors, _, _ = socket.recv_fds(joined, WELCOME.size, 1)
        if not descriptors:
            raise AttemptLost(f"gradient worker {worker} was not let in")
        memory = mmap.mmap(descriptors[0], Vectors.size_bytes(plan, held, workers))
        os.close(descriptors[0])
        vectors = Vectors(plan, held, workers, memory)
        (patience_s,) = WELCOME.unpack(welcome)
        mine = vectors.parameters, vectors.gradients_of(worker)
        computing = waited(partial(make, plan, prepared, *mine), Opening(partial(_answer, joined, OPENING)))
        joined.sendall(READY)
        while (order := _next_order(joined, patience_s)) is not None:
            kind, step, first, stop = order
            if kind == STEP:
                parts = computing.gradients(step, range(first, stop))
                _answer(joined, pack_parts(step, parts))
                if patience_s:  # else there is no idle CPU to do it
                    computing.look_ahead(step + 1, range(first, stop))
            else:
                for index, measure in computing.evaluate(range(first, stop)):
                    packed = pack_measure(measure)
                    _answer(joined, ANSWER.pack(index, len(packed)) + packed)


class Opening:
    """Called again and again while somebody opens, it says so every now and then, until it `is_over`."""

    def __init__(self, say: Callable[[], object]) -> None:
        self._say, self._said_at = say, time.monotonic()
        self.is_over = False

    def __call__(self) -> None:
        if not self.is_over and time.monotonic() - self._said_at > SAYS_SO_EVERY_S:
            self._say()
            self._said_at = time.monotonic()


def _next_order(joined: socket.socket, patience_s: float) -> tuple[int, int, int, int] | None:
    """Kind, step, first and stop; None when the other side has hung up."""
    try:
        return ASK.unpack(_receive(joined, ASK.size, patience_s))
    except (EOFError, ConnectionError):
        return None


def _answer(joined: socket.socket, message: bytes) -> None:
    with suppress(ConnectionError):  # the other side has hung up: the next order says so
        joined.sendall(message)


def pack_parts(step: int, parts: Sequence[Part]) -> bytes:
    """The answer to an order for gradients."""
    return ANSWER.pack(step, len(parts)) + b"".join([PART.pack(*part.node, part.row, part.loss) for part in parts])


def unpack_part(told: tuple[int, int, int, float]) -> Part:
    """A part, as PART unpacks it."""
    first, stop, row, loss = told
    return Part(Node(first, stop), row, loss)


def pack_measure(measure: SliceMeasure) -> bytes:
    """A slice's measure as safetensors."""
    return save({name: np.asarray(value) for name, value in measure.items()})


def unpack_measure(packed: bytes) -> SliceMeasure:
    """What `pack_measure` packed."""
    found: Any = {name: value if value.ndim else value.item() for name, value in load(packed).items()}
    return found  # type: ignore[no-any-return]


def _receive(
    joined: socket.socket, size: int, patience_s: float = 0.0, on_silence: Callable[[], None] = lambda: None
) -> bytes:
    """Exactly `size` bytes. Raises EOFError when the other side hung up.

    Looks again and again for `patience_s`, and then sleeps until something comes, which takes a while to wake from.
    `on_silence` is called whenever the socket's own timeout passes.
    """
    received, until = b"", time.perf_counter() + patience_s
    flags = socket.MSG_DONTWAIT if patience_s else 0
    while len(received) < size:
        try:
            more = joined.recv(size - len(received), flags)
        except BlockingIOError:
            if not flags:
                on_silence()
            elif time.perf_counter() >= until:
                flags = 0
            continue
        if not more:
            raise EOFError
        received += more
    return received


def _has_come(joined: socket.socket) -> bool:
    """Whether there is something to read, or the other side has hung up."""
    poll = select.poll()
    poll.register(joined, select.POLLIN)
    return bool(poll.poll(0))


def _patience_s(processes: int) -> float:
    """For how long so many processes may look for messages without sleeping: not at all if they share CPUs."""
    return PATIENCE_S if processes <= len(os.sched_getaffinity(0)) else 0.0


def _shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """Zeros that can be handed to other processes, allocated now rather than at first touch, where it would kill."""
    descriptor = os.memfd_create("chainrule", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return descriptor, mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
