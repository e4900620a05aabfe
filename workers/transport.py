"""How weights and gradients travel between the parameter server and the gradient workers: a small seam.

The coordinator speaks to a `Transport` only. `LocalTransport` calls the parts one after the other in this process: it
is the reference that every other way must agree with, bit for bit. `workers/direct.py` has the one over shared memory
and sockets, `workers/on_ray/calls.py` the one over plain Ray calls.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.sharding import SLICE_ROWS, assign, batch_rows, cut, leaves
from workers.blas import kernel_in_use
from workers.gradient_worker import GradientWorker, Part, gradient_rows
from workers.job import AttemptLost
from workers.parameter_server import ParameterServer, ServerState

__all__ = ["Change", "FixedTransport", "LocalTransport", "Transport", "Vectors", "busy", "slices_of"]

Memory = bytearray | mmap

LINE_BYTES = 64  # a cache line: what two processes write must not share one


class Change(NamedTuple):
    """The number of workers is another from now on; `gone` names those who have left, `before` and `members` those who
    computed and who compute. `lost`: it was by no wish of ours, and the others computed the step again. `in_vain`: of
    those who have left who never computed a step."""

    workers: int
    why: str
    gone: Sequence[int]
    before: Sequence[int] = ()
    members: Sequence[int] = ()
    lost: bool = False
    in_vain: Sequence[int] = ()


class Transport(ABC):
    """One parameter server, in this process, and its gradient workers, wherever they are.

    A way for vectors to travel says how the workers are reached: `_connect`, `_parts` and `_measures`.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._server: ParameterServer | None = None
        self.heed: Callable[[], None] = lambda: None
        """Called now and then while a worker is waited for, and may raise to stop waiting."""

    def open(self, plan: Plan, prepared: Path, state: ServerState, next_step: int) -> None:
        """Hands every party its plan, its data and its state; must be called once, before all else."""
        self._plan, self._prepared = plan, prepared
        self._vectors = self._make_vectors()
        self._server = ParameterServer(
            plan, state, next_step, self._vectors.parameters, self._vectors.gradients, self._threads
        )
        self._connect()

    def steps(self, first: int, count: int) -> list[float]:
        """Runs `count` steps from step `first` on and returns the loss of each. Raises Diverged."""
        server, parts = self._opened(), self._parts
        return [server.step(step, parts(step)) for step in range(first, first + count)]

    def evaluate(self) -> list[SliceMeasure]:
        """The validation sums of the present weights, in slice order, whoever took them."""
        return [measure for _, measure in sorted(self._measures(), key=lambda pair: pair[0])]

    def kernels(self) -> set[str]:
        """The BLAS kernels that the workers compute with."""
        return {kernel_in_use()}

    def penalty(self) -> float:
        """The l1 and l2 terms of the loss for the present weights."""
        return self._opened().penalty()

    def keep_best(self) -> None:
        """Remembers the present weights as the best so far."""
        self._opened().keep_best()

    def state(self) -> ServerState:
        """The server's state between two steps, to be read before the next step."""
        return self._opened().state()

    def close(self) -> None:
        """Ends what `open` began; the workers may be used for another job then. Repeating is harmless."""
        if self._server is not None:
            self._server.close()

    def _opened(self) -> ParameterServer:
        assert self._server is not None, "open comes first"
        return self._server

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many compute now."""

    @property
    def members(self) -> Sequence[int]:
        """Who computes now, by name."""
        return range(self.workers)

    def regroup(self) -> list[Change]:
        """Takes in workers who have come and lets go who is to leave, between two steps; tells all that has changed
        since it was called before, losses during the steps among it."""
        return []

    @abstractmethod
    def _make_vectors(self) -> "Vectors":
        """The vectors, in memory that is zeros."""

    @abstractmethod
    def _connect(self) -> None:
        """Makes every worker ready to be asked."""

    @abstractmethod
    def _parts(self, step: int) -> list[Part]:
        """Has the gradients of a step computed, and tells which lie in which row of `self._vectors.gradients`."""

    @abstractmethod
    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        """Has all validation slices measured: each with its number, in any order."""


def busy(plan: Plan, step: int, workers: int) -> list[tuple[int, range]]:
    """Which worker computes which shards of a step; workers without rows are left out."""
    spec = plan.spec
    return _busy(batch_rows(step, spec.batch_size, plan.training_rows), spec.shards, workers)


@lru_cache(maxsize=64)
def _busy(rows: int, shards: int, workers: int) -> list[tuple[int, range]]:
    return [(worker, mine) for worker, mine in enumerate(assign(shards, workers)) if leaves(rows, shards, mine)]


def slices_of(plan: Plan, workers: int) -> list[range]:
    """Which validation slices each worker sums."""
    return [range(*bounds) for bounds in cut(-(-plan.validation_rows // SLICE_ROWS), workers)]


class Vectors:
    """The vectors that travel: the weights, and a row for each gradient that a worker holds at once.

    Args:
        members: the workers, of `workers` in all, whose gradients are held here.
        memory: as many bytes as `size_bytes` tells, zeros, maybe shared between processes.
    """

    def __init__(self, plan: Plan, members: range, workers: int, memory: Memory) -> None:
        self._rows = _rows_of(plan, members, workers)
        self._first = dict(zip(members, accumulate(self._rows.values(), initial=0), strict=False))
        dtype = np.dtype(plan.spec.dtype)
        table = np.frombuffer(memory, dtype).reshape(1 + sum(self._rows.values()), -1)
        self.parameters: npt.NDArray[np.floating] = table[0, : plan.parameters]
        self.gradients: npt.NDArray[np.floating] = table[1:]

    def first_row(self, worker: int) -> int:
        """Where that worker's rows begin, within all gradients."""
        return self._first[worker]

    @staticmethod
    def size_bytes(plan: Plan, members: range, workers: int) -> int:
        """The memory that the vectors need."""
        vector = plan.parameters * np.dtype(plan.spec.dtype).itemsize
        return (1 + sum(_rows_of(plan, members, workers).values())) * (-(-vector // LINE_BYTES) * LINE_BYTES)

    def gradients_of(self, worker: int) -> npt.NDArray[np.floating]:
        """The rows that are that worker's."""
        return self.gradients[self._first[worker] : self._first[worker] + self._rows[worker]]

    def placed(self, worker: int, parts: Sequence[Part]) -> list[Part]:
        """That worker's parts, their rows counted within all gradients."""
        first, rows = self._first[worker], sum(self._rows.values())
        for part in parts:
            if first + part.row >= rows:
                raise AttemptLost(f"gradient worker {worker} told of row {part.row}, which it does not have")
        return [Part(part.node, first + part.row, part.loss) for part in parts] if first else list(parts)


def _rows_of(plan: Plan, members: range, workers: int) -> dict[int, int]:
    rows = gradient_rows(plan, workers)
    return {worker: rows[worker] for worker in members}


class FixedTransport(Transport):
    """A transport of so many workers, from the beginning to the end, who need no common memory."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self._count = workers
        self._refused: deque[Sequence[int]] = deque()

    @property
    def workers(self) -> int:
        return self._count

    def refuse(self, newcomers: Sequence[int] = ()) -> None:
        """Has the next `regroup` answer who asks for more or fewer workers: these have gone, and all is as it was. May
        be called from other threads."""
        self._refused.append(newcomers)

    def regroup(self) -> list[Change]:
        told, there = [], list(self.members)
        while self._refused:
            gone, why = self._refused.popleft(), "cannot change its size, and goes on with the same workers"
            told.append(Change(self._count, why, gone, there, there, in_vain=gone))
        return told

    def _make_vectors(self) -> Vectors:
        everybody = range(self._count)
        memory = bytearray(Vectors.size_bytes(self._plan, everybody, self._count))
        return Vectors(self._plan, everybody, self._count, memory)


class LocalTransport(FixedTransport):
    """Server and workers in this process, called one after the other."""

    def _connect(self) -> None:
        vectors = self._vectors
        self._workers = [
            GradientWorker(self._plan, self._prepared, vectors.parameters, vectors.gradients_of(worker))
            for worker in range(self._count)
        ]

    def _parts(self, step: int) -> list[Part]:
        return [
            part
            for worker, shards in busy(self._plan, step, self._count)
            for part in self._vectors.placed(worker, self._workers[worker].gradients(step, shards))
        ]

    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        slices = slices_of(self._plan, self._count)
        return [pair for worker, mine in zip(self._workers, slices, strict=True) for pair in worker.evaluate(mine)]
