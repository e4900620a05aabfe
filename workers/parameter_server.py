"""The parameter server: it holds the weights, averages what the workers send, and applies the optimizer's step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared.errors import Diverged
from shared.optimizers import build_optimizer, penalty
from shared.plan import Plan
from shared.schedules import learning_rate_at
from shared.sharding import Node, reduce
from workers.gradient_worker import Part, network_of

__all__ = ["ParameterServer", "ServerState"]

Vector = npt.NDArray[np.floating]


@dataclass
class ServerState:
    """All that a parameter server knows: enough to go on elsewhere with the same bits."""

    parameters: Vector
    slots: dict[str, Vector] = field(default_factory=dict)
    best: Vector | None = None


class ParameterServer:
    """Weights, optimizer and schedule of one job; a step is applied once, in order, or not at all."""

    def __init__(self, plan: Plan, state: ServerState, next_step: int) -> None:
        spec = plan.spec
        network = network_of(plan)
        self._plan = plan
        self._next_step = next_step
        self._penalized = network.penalized
        self._optimizer = build_optimizer(
            spec.optimizer, network.size, spec.dtype, network.penalized, spec.l1, spec.l2, spec.clip_norm
        )
        self.parameters = state.parameters.copy()
        for name, slot in self._optimizer.slots.items():
            if name in state.slots:
                slot[:] = state.slots[name]
        self._best = None if state.best is None else state.best.copy()

    def step(self, step: int, parts: Mapping[Node, Part]) -> float:
        """Applies step `step` (from 0) and returns the loss before it: the mean over the batch, plus the penalty.

        Raises Diverged when the loss is not finite (the weights stay as they were), ValueError when the step is not
        the next one or a shard is missing or doubled.
        """
        if step != self._next_step:
            raise ValueError(f"got step {step}, expected {self._next_step}")
        plan, spec = self._plan, self._plan.spec
        rows = min(spec.batch_size, plan.training_rows - step % plan.steps_per_epoch * spec.batch_size)
        total = reduce(spec.shards, rows, parts)
        loss = total.loss / rows + self.penalty()
        if not math.isfinite(loss):
            raise Diverged.at(step)
        rate = learning_rate_at(spec.schedule, spec.optimizer.learning_rate, step, plan.steps_per_epoch, plan.steps)
        self._optimizer.update(self.parameters, total.gradient, divisor=float(rows), learning_rate=rate, step=step + 1)
        self._next_step += 1
        return loss

    def penalty(self) -> float:
        """The l1 and l2 terms of the loss for the present weights."""
        spec = self._plan.spec
        return penalty(self.parameters, self._penalized, spec.l1, spec.l2) if spec.l1 or spec.l2 else 0.0

    def keep_best(self) -> None:
        """Remembers the present weights as the best so far."""
        if self._best is None:
            self._best = np.empty_like(self.parameters)
        self._best[:] = self.parameters

    def state(self) -> ServerState:
        """What to write into a checkpoint: the vectors themselves, not copies."""
        return ServerState(self.parameters, dict(self._optimizer.slots), self._best)
