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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from safetensors.numpy import load, save

from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.sharding import Node
from workers.gradient_worker import GradientWorker, Part
from workers.job import AttemptLost
from workers.transport import Vectors

__all__ = ["Entrance", "Links", "pack_measure", "serve", "unpack_measure"]

OPENS_WITHIN_S: Final = 60.0
LOOK_UP_EVERY_S: Final = 1.0  # from waiting for an answer, to see whether a silent worker still lives
SECRET_BYTES: Final = 32

HELLO: Final = struct.Struct(f"={SECRET_BYTES}sI")  # secret, worker
STEP: Final = 1
MEASURE: Final = 2
ASK: Final = struct.Struct("=BqII")  # STEP or MEASURE, step, first and stop of shards or slices
ANSWER: Final = struct.Struct("=qI")  # step, or slice; and how many parts follow, or bytes
PART: Final = struct.Struct("=IIId")  # first and stop of the subtree, row, loss


class Entrance(NamedTuple):
    """Where workers join, and the secret that lets them in."""

    address: bytes
    secret: bytes


class Links:
    """One party's side: the workers `members`, of `workers` in all, of its node.

    Raises OSError when the memory cannot be had.
    """

    def __init__(self, plan: Plan, members: range, workers: int) -> None:
        self.members = members
        self._sockets: dict[int, socket.socket] = {}
        self._memory_fd, self._memory = _shared_memory(Vectors.size_bytes(plan, members, workers))
        self.vectors = Vectors(plan, members, workers, self._memory)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = b"\0chainrule-" + secrets.token_hex(16).encode()
        self._door.bind(address)
        self._door.listen(len(members))
        self.entrance = Entrance(address, secrets.token_bytes(SECRET_BYTES))

    @property
    def memory(self) -> mmap.mmap:
        return self._memory

    def accept(self, look: Callable[[int], None]) -> None:
        """Waits until every worker has joined. `look(worker)` is called now and then, and raises if one has ended.

        Raises AttemptLost when they do not come within OPENS_WITHIN_S.
        """
        until = time.monotonic() + OPENS_WITHIN_S
        self._door.settimeout(LOOK_UP_EVERY_S / 20)
        while missing := [worker for worker in self.members if worker not in self._sockets]:
            try:
                joined = self._door.accept()[0]
            except TimeoutError:
                for worker in missing:
                    look(worker)
                if time.monotonic() > until:
                    raise AttemptLost(
                        f"gradient worker {missing[0]} did not come within {OPENS_WITHIN_S:.0f} s"
                    ) from None
            else:
                self._let_in(joined)
        self._door.close()

    def _let_in(self, joined: socket.socket) -> None:
        """Hands the memory to whoever knows the secret, and hangs up on everybody else."""
        credentials = joined.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        joined.settimeout(LOOK_UP_EVERY_S)
        try:
            if struct.unpack("3i", credentials)[1] != os.getuid():
                raise ConnectionError("another user's process")
            secret, worker = HELLO.unpack(_receive(joined, HELLO.size))
            if not hmac.compare_digest(secret, self.entrance.secret) or worker not in self.members:
                raise ConnectionError("a wrong secret")
            socket.send_fds(joined, [b"\0"], [self._memory_fd])
        except OSError:
            joined.close()
            return
        joined.settimeout(None)
        seconds, microseconds = divmod(round(LOOK_UP_EVERY_S * 1_000_000), 1_000_000)
        # The kernel's own timeout keeps the socket blocking: half the system calls of Python's.
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, microseconds))
        self._sockets[worker] = joined

    def ask_for_gradients(self, worker: int, step: int, shards: range, look: Callable[[int], None]) -> None:
        self._send(worker, ASK.pack(STEP, step, shards.start, shards.stop), look)

    def ask_for_measures(self, worker: int, slices: range, look: Callable[[int], None]) -> None:
        self._send(worker, ASK.pack(MEASURE, 0, slices.start, slices.stop), look)

    def parts(self, worker: int, step: int, look: Callable[[int], None]) -> list[Part]:
        """The answer to `ask_for_gradients`; the parts' rows are counted within all gradients."""
        answered, count = ANSWER.unpack(self._receive(worker, ANSWER.size, look))
        if answered != step:
            raise AttemptLost(f"gradient worker {worker} answered step {answered}, expected {step}")
        told = self._receive(worker, count * PART.size, look)
        parts = [Part(Node(first, stop), row, loss) for first, stop, row, loss in PART.iter_unpack(told)]
        return self.vectors.placed(worker, parts)

    def measures(self, worker: int, slices: range, look: Callable[[int], None]) -> list[tuple[int, bytes]]:
        """The answer to `ask_for_measures`: packed, each with its slice's number."""
        found = []
        for _ in slices:
            index, size = ANSWER.unpack(self._receive(worker, ANSWER.size, look))
            found.append((index, self._receive(worker, size, look)))
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

    def _send(self, worker: int, message: bytes, look: Callable[[int], None]) -> None:
        try:
            self._sockets[worker].sendall(message)
        except OSError as error:
            raise _gone(worker, look) from error

    def _receive(self, worker: int, size: int, look: Callable[[int], None]) -> bytes:
        joined = self._sockets[worker]
        received = b""
        while len(received) < size:
            try:
                more = joined.recv(size - len(received))
            except BlockingIOError:  # silent for a while: maybe at work, maybe gone
                look(worker)
                continue
            except OSError as error:
                raise _gone(worker, look) from error
            if not more:
                raise _gone(worker, look)
            received += more
        return received


def _gone(worker: int, look: Callable[[int], None]) -> AttemptLost:
    """What ended a worker that hung up: `look` raises it if it can tell."""
    look(worker)
    return AttemptLost(f"gradient worker {worker} died")


def serve(entrance: Entrance, worker: int, members: range, workers: int, plan: Plan, prepared: Path) -> None:
    """A gradient worker's side: joins, and computes what it is asked for until the other side hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as joined:
        joined.connect(entrance.address)
        joined.sendall(HELLO.pack(entrance.secret, worker))
        _, (memory_fd, *_), _, _ = socket.recv_fds(joined, 1, 1)
        memory = mmap.mmap(memory_fd, Vectors.size_bytes(plan, members, workers))
        os.close(memory_fd)
        vectors = Vectors(plan, members, workers, memory)
        computing = GradientWorker(plan, prepared, vectors.parameters, vectors.gradients_of(worker))
        try:
            while True:
                kind, step, first, stop = ASK.unpack(_receive(joined, ASK.size))
                if kind == STEP:
                    parts = computing.gradients(step, range(first, stop))
                    told = [PART.pack(*part.node, part.row, part.loss) for part in parts]
                    joined.sendall(b"".join([ANSWER.pack(step, len(parts)), *told]))
                    computing.look_ahead(step + 1, range(first, stop))
                else:
                    for index, measure in computing.evaluate(range(first, stop)):
                        packed = pack_measure(measure)
                        joined.sendall(ANSWER.pack(index, len(packed)) + packed)
        except (EOFError, ConnectionError):
            return


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
