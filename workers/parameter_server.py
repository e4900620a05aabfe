"""The parameter server: it holds the weights, averages what the workers send, and applies the optimizer's step."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shared.errors import Diverged
from shared.optimizers import GradientSum, build_optimizer, penalty
from shared.plan import Plan
from shared.schedules import learning_rate_at
from shared.sharding import ADD, Node, Summation, batch_rows, whole_sum
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
    """Weights, optimizer and schedule of one job; a step is applied once, in order, or not at all.

    Args:
        state: what it starts from; copied.
        next_step: the step that comes first.
        parameters: (size,), memory for the weights, maybe shared with the workers.
        gradients: (rows, at least size), where the workers' gradients will lie.
        threads: how many may share a step's work while the workers wait.
    """

    def __init__(
        self,
        plan: Plan,
        state: ServerState,
        next_step: int,
        parameters: Vector,
        gradients: npt.NDArray[np.floating],
        threads: int = 1,
    ) -> None:
        spec = plan.spec
        network = network_of(plan)
        self._plan = plan
        self._next_step = next_step
        self._penalized = network.penalized
        self._threads = Threads(threads - 1)
        self._optimizer = build_optimizer(
            spec.optimizer,
            network.size,
            spec.dtype,
            network.penalized,
            spec.l1,
            spec.l2,
            spec.clip_norm,
            threads,
            self._threads,
        )
        self.parameters = state.parameters
        self.move(parameters, gradients)
        for name, slot in self._optimizer.slots.items():
            if name in state.slots:
                slot[:] = state.slots[name]
        self._best = None if state.best is None else state.best.copy()

    def move(self, parameters: Vector, gradients: npt.NDArray[np.floating]) -> None:
        """Goes on in other memory, as the constructor's; the weights are copied there."""
        np.copyto(parameters, self.parameters)
        self.parameters, self._gradients = parameters, gradients
        self._sum = lru_cache(maxsize=64)(self._sum_of)

    def step(self, step: int, parts: Sequence[Part]) -> float:
        """Applies step `step` (from 0) and returns the loss before it: the mean over the batch, plus the penalty.

        Raises Diverged when the loss is not finite (the weights stay as they were), ValueError when the step is not
        the next one or a shard is missing or doubled.
        """
        if step != self._next_step:
            raise ValueError(f"got step {step}, expected {self._next_step}")
        plan, spec = self._plan, self._plan.spec
        rows = batch_rows(step, spec.batch_size, plan.training_rows)
        summation, gradient = self._sum(rows, tuple((part.node, part.row) for part in parts))
        loss = _sum_along(summation, [part.loss for part in parts]) / rows + self.penalty()
        if not math.isfinite(loss):
            raise Diverged.at(step)
        rate = learning_rate_at(spec.schedule, spec.optimizer.learning_rate, step, plan.steps_per_epoch, plan.steps)
        self._optimizer.update(self.parameters, gradient, divisor=float(rows), learning_rate=rate, step=step + 1)
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

    def close(self) -> None:
        """Ends its threads."""
        self._threads.close()

    def _sum_of(self, rows: int, held: tuple[tuple[Node, int], ...]) -> tuple[Summation, GradientSum]:
        """How to add what lies in these rows of the gradients' memory."""
        found = whole_sum(rows, self._plan.spec.shards, tuple(node for node, _ in held))
        return found, GradientSum(self._gradients, [row for _, row in held], found)


def _sum_along(summation: Summation, values: Sequence[float]) -> float:
    stack: list[float] = []
    for operation in summation.program:
        if operation == ADD:
            above = stack.pop()
            stack[-1] += above
        else:
            stack.append(values[operation])
    return stack[0]


class Threads:
    """Runs tasks at once, one of them in the thread that asks, the others in `helpers` threads of its own."""

    def __init__(self, helpers: int) -> None:
        self._helpers = ThreadPoolExecutor(helpers, "optimizer") if helpers else None

    def __call__(self, tasks: Sequence[Callable[[], None]]) -> None:
        others = [] if self._helpers is None else [self._helpers.submit(task) for task in tasks[1:]]
        for task in tasks[: len(tasks) - len(others)]:
            task()
        for other in others:
            other.result()

    def close(self) -> None:
        """Ends them. Repeating is harmless."""
        if self._helpers is not None:
            self._helpers.shutdown()
