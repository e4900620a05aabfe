"""A gradient worker: forward and backward over its shards of a batch, and sums over its validation slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.metrics import SliceMeasure, measure
from shared.network import Network
from shared.plan import Plan
from shared.randomness import Purpose, permutation
from shared.sharding import Node, collect, cut
from workers.data import PreparedData

__all__ = ["SLICE_ROWS", "GradientWorker", "Part", "network_of"]

Vector = npt.NDArray[np.floating]

SLICE_ROWS = 1024  # validation rows that are summed by one party: fixed, so that the sums' bits are


def network_of(plan: Plan) -> Network:
    """The network that a plan describes."""
    loss = plan.spec.loss
    assert loss.type != "auto", "a plan names its loss"
    return Network(plan.spec.layers, plan.inputs, plan.outputs, loss, plan.spec.dtype)


@dataclass
class Part:
    """The summed gradient and loss over one subtree's rows."""

    gradient: Vector
    loss: float

    def add(self, other: "Part") -> None:
        """Adds another part into this one."""
        np.add(self.gradient, other.gradient, out=self.gradient)
        self.loss += other.loss


class GradientWorker:
    """Computes on whatever shards it is asked for; which ones never matters to the bits.

    Buffers are made once. The parts that `gradients` returns are views into them: they hold until the next call.
    """

    def __init__(self, plan: Plan, prepared: Path) -> None:
        spec = plan.spec
        data = PreparedData.load(prepared)
        self._plan = plan
        self._network = network_of(plan)
        self._x, self._y = data.open_training()
        self._validation = data.open_validation() if plan.validation_rows else None
        rows = -(-min(spec.batch_size, plan.training_rows) // spec.shards)
        self._training = self._network.workspace(rows, training=True)
        self._rows_x = np.empty((rows, plan.inputs), self._x.dtype)
        self._rows_y = np.empty((rows, *self._y.shape[1:]), self._y.dtype)
        self._evaluation = self._network.workspace(min(SLICE_ROWS, max(plan.validation_rows, 1)), training=False)
        self._gradients: list[Vector] = []
        self._order = lru_cache(maxsize=2)(self._order_of_epoch)

    def gradients(self, parameters: Vector, step: int, shards: Sequence[int]) -> dict[Node, Part]:
        """The summed gradients of `shards` of the batch of `step` (from 0), as few subtrees as hold them."""
        spec, plan = self._plan.spec, self._plan
        epoch, batch = divmod(step, plan.steps_per_epoch)
        first = batch * spec.batch_size
        rows = min(spec.batch_size, plan.training_rows - first)
        order, bounds, free = self._order(epoch), cut(rows, spec.shards), iter(self._buffers(len(shards)))

        def compute(shard: int) -> Part:
            start, stop = bounds[shard]
            chosen = order[first + start : first + stop]
            x, y = self._rows_x[: stop - start], self._rows_y[: stop - start]
            np.take(self._x, chosen, axis=0, out=x)
            np.take(self._y, chosen, axis=0, out=y)
            out = next(free)
            loss = self._network.gradient(parameters, x, y, self._training, out, seed=spec.seed, step=step, shard=shard)
            return Part(out, loss)

        return collect(spec.shards, frozenset(shards), rows, compute)

    def evaluate(self, parameters: Vector, slices: Sequence[int]) -> list[tuple[int, SliceMeasure]]:
        """The validation sums over each of `slices`, slice i being rows i·SLICE_ROWS up to (i+1)·SLICE_ROWS."""
        assert self._validation is not None, "evaluate needs validation rows"
        x, y = self._validation
        measured = []
        for index in slices:
            rows = slice(index * SLICE_ROWS, min((index + 1) * SLICE_ROWS, len(x)))
            outputs = self._network.forward(parameters, np.ascontiguousarray(x[rows]), self._evaluation)
            measured.append((index, measure(outputs, np.ascontiguousarray(y[rows]), self._network.loss)))
        return measured

    def _order_of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        rows, spec = self._plan.training_rows, self._plan.spec
        return permutation(rows, spec.seed, Purpose.SHUFFLE, epoch) if spec.shuffle else np.arange(rows)

    def _buffers(self, count: int) -> list[Vector]:
        while len(self._gradients) < count:
            self._gradients.append(np.empty(self._network.size, self._x.dtype))
        return self._gradients
