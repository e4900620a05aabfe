"""How weights and gradients travel between the parameter server and the gradient workers: a small seam.

The coordinator speaks to a `Transport` only. `LocalTransport` calls the parts one after the other in this process: it
is the reference that every other way must agree with, bit for bit. `workers.cluster` has the one over Ray.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.sharding import assign, cut
from workers.gradient_worker import SLICE_ROWS, GradientWorker
from workers.parameter_server import ParameterServer, ServerState

__all__ = ["LocalTransport", "Transport", "busy", "in_slice_order", "slices_of"]


class Transport(Protocol):
    """One parameter server and its workers, wherever they are."""

    def open(self, plan: Plan, prepared: Path, state: ServerState, next_step: int) -> None:
        """Hands every party its plan, its data and its state; must be called once, before all else."""

    def steps(self, first: int, count: int) -> list[float]:
        """Runs `count` steps from step `first` on and returns the loss of each. Raises Diverged."""

    def evaluate(self) -> list[SliceMeasure]:
        """The validation sums of the present weights, in slice order."""

    def penalty(self) -> float:
        """The l1 and l2 terms of the loss for the present weights."""

    def keep_best(self) -> None:
        """Remembers the present weights as the best so far."""

    def state(self) -> ServerState:
        """The server's state between two steps, to be read before the next step."""


def busy(plan: Plan, step: int, workers: int) -> list[tuple[int, list[int]]]:
    """Which worker computes which shards of a step; workers and shards without rows are left out."""
    rows = min(plan.spec.batch_size, plan.training_rows - step % plan.steps_per_epoch * plan.spec.batch_size)
    bounds = cut(rows, plan.spec.shards)
    chosen = (
        (worker, [shard for shard in shards if bounds[shard][0] < bounds[shard][1]])
        for worker, shards in enumerate(assign(plan.spec.shards, workers))
    )
    return [(worker, shards) for worker, shards in chosen if shards]


def slices_of(plan: Plan, workers: int) -> list[range]:
    """Which validation slices each worker sums."""
    return [range(*bounds) for bounds in cut(-(-plan.validation_rows // SLICE_ROWS), workers)]


def in_slice_order(measured: Sequence[tuple[int, SliceMeasure]]) -> list[SliceMeasure]:
    """The measures alone, in an order that does not tell who took them."""
    return [measure for _, measure in sorted(measured, key=lambda pair: pair[0])]


class LocalTransport:
    """Server and workers in this process."""

    def __init__(self, workers: int) -> None:
        self._count = workers

    def open(self, plan: Plan, prepared: Path, state: ServerState, next_step: int) -> None:
        self._plan = plan
        self._server = ParameterServer(plan, state, next_step)
        self._workers = [GradientWorker(plan, prepared) for _ in range(self._count)]

    def steps(self, first: int, count: int) -> list[float]:
        return [self._step(step) for step in range(first, first + count)]

    def _step(self, step: int) -> float:
        weights = self._server.parameters
        parts = {
            node: part
            for worker, shards in busy(self._plan, step, self._count)
            for node, part in self._workers[worker].gradients(weights, step, shards).items()
        }
        return self._server.step(step, parts)

    def evaluate(self) -> list[SliceMeasure]:
        slices = slices_of(self._plan, self._count)
        return in_slice_order(
            [
                pair
                for worker, mine in zip(self._workers, slices, strict=True)
                for pair in worker.evaluate(self._server.parameters, mine)
            ]
        )

    def penalty(self) -> float:
        return self._server.penalty()

    def keep_best(self) -> None:
        self._server.keep_best()

    def state(self) -> ServerState:
        return self._server.state()
