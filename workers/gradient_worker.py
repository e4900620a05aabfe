"""A gradient worker: forward and backward over its shards of a batch, and sums over its validation slices."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.metrics import SliceMeasure, measure
from shared.network import Network, Pass
from shared.plan import Plan
from shared.sharding import ADD, SLICE_ROWS, Node, Summation, batch_rows, cut, leaves, summation, vectors_held
from workers.data import PreparedData
from workers.order import Order

__all__ = ["GradientWorker", "Part", "gradient_rows", "network_of"]

Vector = npt.NDArray[np.floating]


def network_of(plan: Plan) -> Network:
    """The network that a plan describes."""
    loss = plan.spec.loss
    assert loss.type != "auto", "a plan names its loss"
    return Network(plan.spec.layers, plan.inputs, plan.outputs, loss, plan.spec.dtype)


class Part(NamedTuple):
    """The summed gradient and loss over one subtree's rows; the gradient lies in that row of the party's memory."""

    node: Node
    row: int
    loss: float


def gradient_rows(plan: Plan, workers: int) -> list[int]:
    """How many gradients each worker holds at once, at most: of whole batches, and of the last of an epoch."""
    spec = plan.spec
    sizes = [batch_rows(step, spec.batch_size, plan.training_rows) for step in (0, plan.steps_per_epoch - 1)]
    return [max(held) for held in zip(*(vectors_held(rows, spec.shards, workers) for rows in sizes), strict=True)]


class GradientWorker:
    """Computes on whatever shards it is asked for; which ones never matters to the bits.

    It reads the weights from `parameters`, whatever they are at the time, and leaves gradients in the rows of
    `gradients`: both are memory that it was given, maybe shared with other processes. Buffers are made once.
    """

    def __init__(self, plan: Plan, prepared: Path, parameters: Vector, gradients: npt.NDArray[np.floating]) -> None:
        spec = plan.spec
        data = PreparedData.load(prepared)
        self._plan = plan
        self._parameters, self._gradients = parameters, gradients
        self._network = network_of(plan)
        self._rows = data.open_training(self._network.dtype)
        self._validation = data.open_validation(self._network.dtype) if plan.validation_rows else None
        self._slice = self._rows.memory(min(SLICE_ROWS, plan.validation_rows))
        rows = -(-min(spec.batch_size, plan.training_rows) // spec.shards)
        self._training = self._network.workspace(rows, training=True)
        self._evaluation = self._network.workspace(min(SLICE_ROWS, max(plan.validation_rows, 1)), training=False)
        self._passes: dict[tuple[int, int], Pass] = {}  # by rows, and row of `gradients`
        self._gathered: tuple[int, int] | None = None  # whose rows the workspace holds: of which step, which shard
        self._order = Order(spec, plan.training_rows, prepared)

    def gradients(self, step: int, shards: range) -> list[Part]:
        """The summed gradients of `shards` of the batch of `step` (from 0), as few subtrees as hold them.

        They hold until the next call.
        """
        mine, summing = self._work(step, shards)
        losses: list[float] = []
        for operation in summing.program:
            if operation == ADD:
                above, row = losses.pop(), len(losses)
                losses[-1] += above
                np.add(self._gradients[row - 1], self._gradients[row], self._gradients[row - 1])
            else:
                bound = self._gather(step, mine[operation], len(losses))
                losses.append(bound.run(seed=self._plan.spec.seed, step=step, shard=mine[operation].number))
        return [Part(node, row, losses[row]) for row, node in enumerate(summing.sums)]

    def look_ahead(self, step: int, shards: range) -> None:
        """Gathers the first rows that `gradients` will need for `step`, while there is nothing else to do.

        The step may never come, so what goes wrong here is left to the step itself.
        """
        if step < self._plan.steps:
            mine, _ = self._work(step, shards)
            if mine:
                with suppress(OSError):
                    self._gather(step, mine[0], 0)

    def evaluate(self, slices: Sequence[int]) -> Iterator[tuple[int, SliceMeasure]]:
        """The validation sums over each of `slices`, slice i being rows i·SLICE_ROWS up to (i+1)·SLICE_ROWS."""
        assert self._validation is not None, "evaluate needs validation rows"
        for index in slices:
            chosen = np.arange(index * SLICE_ROWS, min((index + 1) * SLICE_ROWS, len(self._validation)))
            x, y = (memory[: len(chosen)] for memory in self._slice)
            self._validation.gather(chosen, x, y)
            outputs = self._network.forward(self._parameters, x, self._evaluation)
            yield index, measure(outputs, y, self._network.loss)

    def _gather(self, step: int, shard: "Shard", row: int) -> Pass:
        """The pass that writes a shard's gradient into that row of `gradients`, with the shard's rows put into it."""
        size = shard.stop - shard.start
        bound = self._passes.get((size, row))
        if bound is None:
            out = self._gradients[row][: self._network.size]
            bound = self._network.bind(self._parameters, self._training, size, out)
            self._passes[size, row] = bound
        if self._gathered != (step, shard.number):
            epoch, batch = divmod(step, self._plan.steps_per_epoch)
            first = batch * self._plan.spec.batch_size
            chosen = self._order.rows(epoch, first + shard.start, first + shard.stop)
            self._rows.gather(chosen, bound.x, bound.y)
            self._gathered = (step, shard.number)
        return bound

    def _work(self, step: int, shards: range) -> "tuple[list[Shard], Summation]":
        """The shards of that batch that are mine and have rows, and how to sum them."""
        spec = self._plan.spec
        return _work(batch_rows(step, spec.batch_size, self._plan.training_rows), spec.shards, shards)


class Shard(NamedTuple):
    """A shard of a batch, and which of the batch's rows it has."""

    number: int
    start: int
    stop: int


@lru_cache(maxsize=64)
def _work(rows: int, shards: int, mine: range) -> tuple[list[Shard], Summation]:
    bounds, held = cut(rows, shards), leaves(rows, shards, mine)
    return [Shard(node.first, *bounds[node.first]) for node in held], summation(rows, shards, held)
