"""Links between a party and the gradient workers on its node: shared memory for vectors, a socket as doorbell.

The memory is anonymous (memfd): it has no name, needs no room in /dev/shm, and is gone with the last process that holds
it, however that ends. So is the socket's abstract address. A worker proves itself twice: by the user that its process
runs as, which the kernel tells, and by a secret that came with its orders. What travels is fixed structs and
safetensors; nothing is unpickled.
"""

import hmac
import mmap
import os
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from safetensors.numpy import load, save

from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.sharding import Node
from workers.blas import kernel_in_use
from workers.gradient_worker import GradientWorker, Part
from workers.job import AttemptLost
from workers.transport import Vectors, busy, slices_of

__all__ = ["Entrance", "Links", "Staff", "pack_measure", "pack_parts", "serve", "unpack_measure", "unpack_part"]

OPENS_WITHIN_S: Final = 60.0
LOOK_FOR_JOINERS_EVERY_S: Final = 0.05
SAYS_HELLO_WITHIN_S: Final = 10.0
ENDS_WITHIN_S: Final = 2.0  # for a worker that hung up to be told as ended
LOOK_UP_EVERY_S: Final = 1.0  # from waiting for an answer, to see whether a silent worker still lives
SECRET_BYTES: Final = 32

HELLO: Final = struct.Struct(f"={SECRET_BYTES}sI32s")  # secret, worker, its BLAS kernel
READY: Final = b"r"
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
    """One party's side: it shares vectors with the workers of its node.

    Args:
        plan: the job's.
        members: the workers of this node.
        held: the workers for whose gradients there is room, the members among them.
        workers: how many the job has in all.

    Raises OSError when the memory cannot be had. All that asks a worker raises what ended it, or AttemptLost, if it has
    ended.
    """

    def __init__(self, plan: Plan, members: range, held: range, workers: int) -> None:
        self.members, self.workers = members, workers
        self.kernels: set[str] = set()  # the BLAS kernels that the members compute with
        self._plan, self._held = plan, held
        self._sockets: dict[int, socket.socket] = {}
        self._memory_fd, self.memory = _shared_memory(Vectors.size_bytes(plan, held, workers))
        self.vectors = Vectors(plan, held, workers, self.memory)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = b"\0chainrule-" + secrets.token_hex(16).encode()
        self._door.bind(address)
        self._door.listen(len(members))
        self.entrance = Entrance(address, secrets.token_bytes(SECRET_BYTES))

    def open(self, staff: Staff, prepared: Path) -> None:
        """Has the members started and waits until all are ready. Raises AttemptLost when one has not joined within
        OPENS_WITHIN_S."""
        self._staff = staff
        for worker in self.members:
            staff.start(worker, self.entrance, self._held, self.workers, self._plan, prepared)
        until = time.monotonic() + OPENS_WITHIN_S
        self._door.settimeout(LOOK_FOR_JOINERS_EVERY_S)
        while missing := [worker for worker in self.members if worker not in self._sockets]:
            try:
                joined = self._door.accept()[0]
            except TimeoutError:
                for worker in missing:
                    staff.look(worker)
                if time.monotonic() > until:
                    late = f"gradient worker {missing[0]} did not come within {OPENS_WITHIN_S:.0f} s"
                    raise AttemptLost(late) from None
            else:
                self._let_in(joined)
        self._door.close()
        for worker in self.members:
            self._receive(worker, len(READY))

    def _let_in(self, joined: socket.socket) -> None:
        """Hands the memory to whoever knows the secret, and hangs up on everybody else."""
        credentials = joined.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        joined.settimeout(SAYS_HELLO_WITHIN_S)
        try:
            if struct.unpack("3i", credentials)[1] != os.getuid():
                raise ConnectionError("another user's process")
            secret, worker, kernel = HELLO.unpack(_receive(joined, HELLO.size))
            if not hmac.compare_digest(secret, self.entrance.secret) or worker not in self.members:
                raise ConnectionError("a wrong secret")
            socket.send_fds(joined, [b"\0"], [self._memory_fd])
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
        working = [pair for pair in busy(self._plan, step, self.workers) if pair[0] in self.members]
        for worker, shards in working:
            self._send(worker, ASK.pack(STEP, step, shards.start, shards.stop))
        parts = []
        for worker, _ in working:
            answered, count = ANSWER.unpack(self._receive(worker, ANSWER.size))
            if answered != step:
                raise AttemptLost(f"gradient worker {worker} answered step {answered}, expected {step}")
            told = PART.iter_unpack(self._receive(worker, count * PART.size))
            parts += self.vectors.placed(worker, [unpack_part(each) for each in told])
        return parts

    def measures(self) -> list[tuple[int, bytes]]:
        """Has the members' validation slices measured: each packed, with its slice's number."""
        slices = slices_of(self._plan, self.workers)
        for worker in self.members:
            self._send(worker, ASK.pack(MEASURE, 0, slices[worker].start, slices[worker].stop))
        found = []
        for worker in self.members:
            for _ in slices[worker]:
                index, size = ANSWER.unpack(self._receive(worker, ANSWER.size))
                found.append((index, self._receive(worker, size)))
        return found

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

    def _receive(self, worker: int, size: int) -> bytes:
        joined = self._sockets[worker]
        received = b""
        while len(received) < size:
            try:
                more = joined.recv(size - len(received))
            except BlockingIOError:  # silent for a while: maybe at work, maybe gone
                self._staff.look(worker)
                continue
            except OSError as error:
                raise self._gone(worker) from error
            if not more:
                raise self._gone(worker)
            received += more
        return received

    def _gone(self, worker: int) -> AttemptLost:
        """A worker hung up: raises what ended it, which its supervisor may hear of a little later than we."""
        until = time.monotonic() + ENDS_WITHIN_S
        while time.monotonic() < until:
            self._staff.look(worker)
            time.sleep(ENDS_WITHIN_S / 100)
        return AttemptLost(f"gradient worker {worker} hung up")


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
        _, descriptors, _, _ = socket.recv_fds(joined, 1, 1)
        if not descriptors:
            raise AttemptLost(f"gradient worker {worker} was not let in")
        memory = mmap.mmap(descriptors[0], Vectors.size_bytes(plan, held, workers))
        os.close(descriptors[0])
        vectors = Vectors(plan, held, workers, memory)
        computing = make(plan, prepared, vectors.parameters, vectors.gradients_of(worker))
        joined.sendall(READY)
        try:
            while True:
                kind, step, first, stop = ASK.unpack(_receive(joined, ASK.size))
                if kind == STEP:
                    parts = computing.gradients(step, range(first, stop))
                    joined.sendall(pack_parts(step, parts))
                    computing.look_ahead(step + 1, range(first, stop))
                else:
                    for index, measure in computing.evaluate(range(first, stop)):
                        packed = pack_measure(measure)
                        joined.sendall(ANSWER.pack(index, len(packed)) + packed)
        except (EOFError, ConnectionError):
            return


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


def _receive(joined: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError when the other side hung up."""
    received = joined.recv(size)
    while len(received) < size:
        more = joined.recv(size - len(received))
        if not more:
            raise EOFError
        received += more
    return received


def _shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """Zeros that can be handed to other processes, allocated now rather than at first touch, where it would kill."""
    descriptor = os.memfd_create("chainrule", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return descriptor, mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
