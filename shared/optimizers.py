"""The optimizers: how the parameters follow from a batch's summed gradient, one fused pass a step."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from math import sqrt
from typing import Protocol

import numpy as np

from shared import kernels, spec
from shared.layers import aligned
from shared.sharding import ADD, Node, Summation

__all__ = ["GradientSum", "Optimizer", "build_optimizer", "penalty"]

TINY = float(np.finfo(np.float64).tiny)
RANGE_FROM = 1 << 20  # numbers of all parts in a range: with fewer, handing over to a thread costs more than it saves
PAGE_BYTES = 4096


class GradientSum:
    """The parts of a batch's gradient, and how to add them.

    Args:
        memory: (rows, at least size), C-contiguous, of the parameters' dtype.
        rows: in which row of it each part lies.
        summation: how to add the parts (shared/sharding.py).
    """

    def __init__(self, memory: np.ndarray, rows: Sequence[int], summation: Summation) -> None:
        self.memory = memory
        self.program = np.array([part if part == ADD else rows[part] for part in summation.program], np.int64)
        self.depth = summation.depth
        self.parts = len(rows)

    @classmethod
    def of(cls, gradient: np.ndarray) -> "GradientSum":
        """A sum that is there already: (size,)."""
        return cls(gradient.reshape(1, -1), [0], Summation((0,), (Node(0, 1),), 1))


Range = tuple[int, int]
RunAll = Callable[[Sequence[Callable[[], None]]], None]
Sum = tuple[np.ndarray, np.ndarray, np.ndarray]  # parts, program, stack: as kernels take them


class Rule(Protocol):
    """One optimizer's step over flat vectors, w in place, from the parts of a gradient, times `share`."""

    @property
    def slots(self) -> dict[str, np.ndarray]:
        """Its state by name: vectors like the parameters."""

    def apply(self, w: np.ndarray, total: Sum, among: Range, share: float, learning_rate: float, step: int) -> None:
        """Steps the parameters from among[0] up to among[1]; several threads may step others meanwhile."""


class SgdRule:
    """Gradient descent; with momentum (Polyak, 1964), v ← μ v + g, w ← w - lr v, or Nesterov's w ← w - lr (g + μ v)."""

    def __init__(self, settings: spec.Sgd, size: int, dtype: np.dtype) -> None:
        self._real = dtype.type
        self._momentum = self._real(settings.momentum)
        self._nesterov = settings.nesterov
        self.slots = _zeros(["v"] if settings.momentum else [], size, dtype)

    def apply(self, w: np.ndarray, total: Sum, among: Range, share: float, learning_rate: float, step: int) -> None:
        scale, rate = self._real(share), self._real(learning_rate)
        if self.slots:
            kernels.sgd_momentum(w, *total, *among, scale, rate, self.slots["v"], self._momentum, self._nesterov)
        else:
            kernels.sgd(w, *total, *among, scale, rate)


class AdamRule:
    """Adam: Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1.

    AdamW: Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019), algorithm 2, the decay times the
    learning rate, on weights only.
    """

    def __init__(self, settings: spec.Adam, size: int, dtype: np.dtype, penalized: np.ndarray) -> None:
        self._settings = settings
        self._real = real = dtype.type
        self._penalized = penalized
        self._weight_decay = settings.weight_decay if isinstance(settings, spec.AdamW) else 0.0
        beta1, beta2 = settings.beta1, settings.beta2
        self._scalars = (real(beta1), real(1 - beta1), real(beta2), real(1 - beta2), real(settings.epsilon))
        self.slots = _zeros(["m", "v"], size, dtype)

    def apply(self, w: np.ndarray, total: Sum, among: Range, share: float, learning_rate: float, step: int) -> None:
        real, settings, slots = self._real, self._settings, self.slots
        if self._weight_decay:
            kernels.decay(w, self._penalized, *among, real(learning_rate * self._weight_decay))
        rate = real(learning_rate / (1 - settings.beta1**step))
        inverse_root = real(1 / sqrt(1 - settings.beta2**step))
        kernels.adam(w, *total, *among, real(share), rate, slots["m"], slots["v"], inverse_root, *self._scalars)


class RMSpropRule:
    """RMSprop: Hinton, "Neural networks for machine learning", lecture 6e (2012)."""

    def __init__(self, settings: spec.RMSprop, size: int, dtype: np.dtype) -> None:
        self._real = real = dtype.type
        self._scalars = (real(settings.decay), real(1 - settings.decay), real(settings.epsilon))
        self.slots = _zeros(["v"], size, dtype)

    def apply(self, w: np.ndarray, total: Sum, among: Range, share: float, learning_rate: float, step: int) -> None:
        kernels.rmsprop(
            w, *total, *among, self._real(share), self._real(learning_rate), self.slots["v"], *self._scalars
        )


class AdagradRule:
    """Adagrad: Duchi, Hazan & Singer, "Adaptive subgradient methods …" (JMLR 2011), diagonal form."""

    def __init__(self, settings: spec.Adagrad, size: int, dtype: np.dtype) -> None:
        self._real = dtype.type
        self._epsilon = self._real(settings.epsilon)
        self.slots = _zeros(["s"], size, dtype)

    def apply(self, w: np.ndarray, total: Sum, among: Range, share: float, learning_rate: float, step: int) -> None:
        kernels.adagrad(w, *total, *among, self._real(share), self._real(learning_rate), self.slots["s"], self._epsilon)


class Optimizer:
    """An optimizer with its penalties and clipping. Its whole state is `slots`: vectors by name, to be checkpointed.

    To restore a checkpoint, copy into the vectors (`optimizer.slots[name][:] = saved`). Where there is much to read,
    the parameters are cut into as many as `ranges`, whose steps `run_all` may run at once: every parameter's
    arithmetic is its own, so the bits do not tell.
    """

    def __init__(
        self,
        rule: Rule,
        size: int,
        dtype: np.dtype,
        penalized: np.ndarray,
        l1: float,
        l2: float,
        clip_norm: float | None,
        ranges: int,
        run_all: RunAll,
    ) -> None:
        self._rule = rule
        self._real = dtype.type
        self._penalized = penalized
        self._l1, self._l2, self._clip_norm = self._real(l1), self._real(l2), clip_norm
        self._regularized = GradientSum.of(np.empty(size, dtype)) if l1 or l2 or clip_norm is not None else None
        self._size, self._ranges, self._run_all = size, ranges, run_all
        self._stacks = np.empty((ranges, 1, kernels.BLOCK), dtype)

    @property
    def slots(self) -> dict[str, np.ndarray]:
        """The state vectors by name, each like the parameters; {} for plain sgd."""
        return self._rule.slots

    def update(
        self, parameters: np.ndarray, gradient: GradientSum, *, divisor: float, learning_rate: float, step: int
    ) -> None:
        """One step, in place: g = Σ parts / divisor + l1 sign(w) + l2 w (weights only), then g scaled to Euclidean
        norm `clip_norm` where it is longer, then the optimizer's rule.

        Args:
            parameters: (size,), overwritten.
            gradient: its parts are only read.
            divisor: the rows of the batch.
            learning_rate: this step's.
            step: counts from 1.
        """
        share = 1.0 / divisor
        if self._regularized is not None:
            regularized = self._regularized.memory[0]
            penalties = (self._penalized, self._l1, self._l2, regularized)
            scale = self._real(share)
            self._share_out(
                gradient, lambda total, among: kernels.regularize(parameters, *total, *among, scale, *penalties)
            )
            share, gradient = 1.0, self._regularized
            if self._clip_norm is not None:
                share = min(1.0, self._clip_norm / max(sqrt(kernels.sum_of_squares(regularized)), TINY))
        apply = self._rule.apply
        self._share_out(gradient, lambda total, among: apply(parameters, total, among, share, learning_rate, step))

    def _share_out(self, gradient: GradientSum, work: Callable[[Sum, Range], None]) -> None:
        """Calls `work` for each range."""
        if self._stacks.shape[1] < gradient.depth:
            self._stacks = np.empty((self._ranges, gradient.depth, kernels.BLOCK), self._real)
        ranges = _ranges(self._size, min(self._ranges, self._size * gradient.parts // RANGE_FROM))
        self._run_all(
            [
                partial(work, (gradient.memory, gradient.program, self._stacks[number]), among)
                for number, among in enumerate(ranges)
            ]
        )


def run_in_turn(tasks: Sequence[Callable[[], None]]) -> None:
    """Runs one task after the other."""
    for task in tasks:
        task()


def _zeros(names: Sequence[str], size: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    """Vectors by name, each from a cache line on, and half a page out of step with the one before.

    Vectors that begin alike within a page slow each other down: a CPU takes a load for one of what was just stored when
    the last 12 bits of their addresses agree.
    """
    page = PAGE_BYTES // dtype.itemsize
    table = aligned((len(names), -(-size // page) * page + page // 2), dtype)
    table.fill(0)
    return {name: vector[:size] for name, vector in zip(names, table, strict=True)}


@lru_cache(maxsize=16)
def _ranges(size: int, count: int) -> list[Range]:
    """`count` ranges, at least one, of about the same length, that begin where a kernel's block does."""
    count = max(count, 1)
    bounds = [size * number // count // kernels.BLOCK * kernels.BLOCK for number in range(count)] + [size]
    return list(pairwise(bounds))


def build_optimizer(
    settings: spec.Optimizer,
    size: int,
    dtype: str,
    penalized: np.ndarray,
    l1: float = 0.0,
    l2: float = 0.0,
    clip_norm: float | None = None,
    ranges: int = 1,
    run_all: RunAll = run_in_turn,
) -> Optimizer:
    """The optimizer that a spec describes, for a flat vector of `size` parameters; its state starts at zero.

    `penalized` is uint8 (size,): 1 where l1, l2 and weight decay apply.
    """
    kind = np.dtype(dtype)
    rule = _rule(settings, size, kind, penalized)
    return Optimizer(rule, size, kind, penalized, l1, l2, clip_norm, ranges, run_all)


def _rule(settings: spec.Optimizer, size: int, dtype: np.dtype, penalized: np.ndarray) -> Rule:
    match settings:
        case spec.Sgd():
            return SgdRule(settings, size, dtype)
        case spec.Adam():  # AdamW too
            return AdamRule(settings, size, dtype, penalized)
        case spec.RMSprop():
            return RMSpropRule(settings, size, dtype)
        case spec.Adagrad():
            return AdagradRule(settings, size, dtype)


def penalty(parameters: np.ndarray, penalized: np.ndarray, l1: float, l2: float) -> float:
    """l1 Σ|w| + l2/2 Σw² over the weights, in float64: what the penalties add to the loss."""
    return kernels.penalty(parameters, penalized, float(l1), float(l2)) if l1 or l2 else 0.0
