"""The reference path: weights and gradients as arguments and results of plain Ray calls."""

from collections.abc import Sequence
from typing import Any

import ray

from shared.metrics import SliceMeasure
from workers.gradient_worker import Part
from workers.on_ray.results import result
from workers.transport import FixedTransport, busy, slices_of

__all__ = ["RayCalls"]


class RayCalls(FixedTransport):
    """Gradient workers that are processes of Ray's. A loss is the end of the attempt."""

    def __init__(self, workers: Sequence[Any]) -> None:
        super().__init__(len(workers))
        self._workers = workers

    def _connect(self) -> None:
        count, plan, prepared = self._count, self._plan, self._prepared
        opened = [worker.open_worker.remote(plan, prepared, n, count) for n, worker in enumerate(self._workers)]
        self._kernels = set(result(opened))

    def kernels(self) -> set[str]:
        return self._kernels

    def _parts(self, step: int) -> list[Part]:
        weights, working = ray.put(self._vectors.parameters), busy(self._plan, step, self._count)
        asked = [self._workers[worker].gradients.remote(weights, step, shards) for worker, shards in working]
        placed = []
        for (worker, _), (parts, gradients) in zip(working, result(asked), strict=True):
            mine = self._vectors.placed(worker, parts)
            for part, gradient in zip(mine, gradients, strict=True):
                self._vectors.gradients[part.row] = gradient
            placed += mine
        return placed

    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        weights = ray.put(self._vectors.parameters)
        calls = zip(self._workers, slices_of(self._plan, self._count), strict=True)
        found = result([worker.evaluate.remote(weights, mine) for worker, mine in calls if mine])
        return [pair for measured in found for pair in measured]
