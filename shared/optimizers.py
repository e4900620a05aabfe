"""The optimizers: how the parameters follow from a batch's summed gradient, one fused pass a step."""

from math import sqrt
from typing import Protocol

import numpy as np

from shared import kernels, spec

__all__ = ["Optimizer", "build_optimizer", "penalty"]


class Rule(Protocol):
    """One optimizer's step over flat vectors, w in place: from gradient / divisor, at a learning rate."""

    @property
    def slots(self) -> dict[str, np.ndarray]:
        """Its state by name: vectors like the parameters."""

    def apply(self, w: np.ndarray, gradient: np.ndarray, divisor: float, learning_rate: float, step: int) -> None: ...


class SgdRule:
    """Gradient descent; with momentum (Polyak, 1964), v ← μ v + g, w ← w - lr v, or Nesterov's w ← w - lr (g + μ v)."""

    def __init__(self, settings: spec.Sgd, size: int, dtype: np.dtype) -> None:
        self._real = dtype.type
        self._momentum = self._real(settings.momentum)
        self._nesterov = settings.nesterov
        self.slots = {"v": np.zeros(size, dtype)} if settings.momentum else {}

    def apply(self, w: np.ndarray, gradient: np.ndarray, divisor: float, learning_rate: float, step: int) -> None:
        real = self._real
        rate = real(learning_rate)
        if self.slots:
            v = self.slots["v"]
            kernels.sgd_momentum(w, gradient, v, real(divisor), rate, self._momentum, self._nesterov)
        else:
            kernels.sgd(w, gradient, real(divisor), rate)


class AdamRule:
    """Adam: Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1.

    AdamW: Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019), algorithm 2, the decay times the
    learning rate, on weights only.
    """

    def __init__(self, settings: spec.Adam, size: int, dtype: np.dtype, penalized: np.ndarray) -> None:
        self._settings = settings
        self._real = dtype.type
        self._penalized = penalized
        self._weight_decay = settings.weight_decay if isinstance(settings, spec.AdamW) else 0.0
        self.slots = {"m": np.zeros(size, dtype), "v": np.zeros(size, dtype)}

    def apply(self, w: np.ndarray, gradient: np.ndarray, divisor: float, learning_rate: float, step: int) -> None:
        real, settings = self._real, self._settings
        if self._weight_decay:
            kernels.decay(w, self._penalized, real(learning_rate * self._weight_decay))
        kernels.adam(
            w,
            gradient,
            self.slots["m"],
            self.slots["v"],
            real(divisor),
            real(learning_rate / (1 - settings.beta1**step)),
            real(sqrt(1 - settings.beta2**step)),
            real(settings.beta1),
            real(1 - settings.beta1),
            real(settings.beta2),
            real(1 - settings.beta2),
            real(settings.epsilon),
        )


class RMSpropRule:
    """RMSprop: Hinton, "Neural networks for machine learning", lecture 6e (2012)."""

    def __init__(self, settings: spec.RMSprop, size: int, dtype: np.dtype) -> None:
        self._real = dtype.type
        self._keep = self._real(settings.decay)
        self._rest = self._real(1 - settings.decay)
        self._epsilon = self._real(settings.epsilon)
        self.slots = {"v": np.zeros(size, dtype)}

    def apply(self, w: np.ndarray, gradient: np.ndarray, divisor: float, learning_rate: float, step: int) -> None:
        divisor, rate = self._real(divisor), self._real(learning_rate)
        kernels.rmsprop(w, gradient, self.slots["v"], divisor, rate, self._keep, self._rest, self._epsilon)


class AdagradRule:
    """Adagrad: Duchi, Hazan & Singer, "Adaptive subgradient methods …" (JMLR 2011), diagonal form."""

    def __init__(self, settings: spec.Adagrad, size: int, dtype: np.dtype) -> None:
        self._real = dtype.type
        self._epsilon = self._real(settings.epsilon)
        self.slots = {"s": np.zeros(size, dtype)}

    def apply(self, w: np.ndarray, gradient: np.ndarray, divisor: float, learning_rate: float, step: int) -> None:
        kernels.adagrad(w, gradient, self.slots["s"], self._real(divisor), self._real(learning_rate), self._epsilon)


class Optimizer:
    """An optimizer with its penalties and clipping. Its whole state is `slots`: vectors by name, to be checkpointed.

    To restore a checkpoint, copy into the vectors (`optimizer.slots[name][:] = saved`).
    """

    def __init__(
        self, rule: Rule, size: int, dtype: np.dtype, penalized: np.ndarray, l1: float, l2: float, clip: float | None
    ) -> None:
        self._rule = rule
        self._real = dtype.type
        self._penalized = penalized
        self._l1, self._l2, self._clip_norm = l1, l2, clip
        self._scratch = np.empty(size, dtype) if l1 or l2 or clip is not None else None

    @property
    def slots(self) -> dict[str, np.ndarray]:
        """The state vectors by name, each like the parameters; {} for plain sgd."""
        return self._rule.slots

    def update(
        self,
        parameters: np.ndarray,
        gradient_sum: np.ndarray,
        *,
        divisor: float,
        learning_rate: float,
        step: int,
    ) -> None:
        """One step, in place: g = gradient_sum / divisor + l1 sign(w) + l2 w (weights only), then g scaled to
        Euclidean norm `clip_norm` where it is longer, then the optimizer's rule.

        Args:
            parameters: (size,), overwritten.
            gradient_sum: (size,), only read.
            divisor: the rows of the batch.
            learning_rate: this step's.
            step: counts from 1.
        """
        gradient = gradient_sum
        if self._scratch is not None:
            real, gradient = self._real, self._scratch
            l1, l2 = real(self._l1), real(self._l2)
            kernels.regularize(parameters, gradient_sum, self._penalized, real(divisor), l1, l2, gradient)
            divisor = 1.0
            if self._clip_norm is not None:
                divisor = max(1.0, sqrt(kernels.sum_of_squares(gradient)) / self._clip_norm)
        self._rule.apply(parameters, gradient, divisor, learning_rate, step)


def build_optimizer(
    settings: spec.Optimizer,
    size: int,
    dtype: str,
    penalized: np.ndarray,
    l1: float = 0.0,
    l2: float = 0.0,
    clip_norm: float | None = None,
) -> Optimizer:
    """The optimizer that a spec describes, for a flat vector of `size` parameters; its state starts at zero.

    `penalized` is uint8 (size,): 1 where l1, l2 and weight decay apply.
    """
    kind = np.dtype(dtype)
    return Optimizer(_rule(settings, size, kind, penalized), size, kind, penalized, l1, l2, clip_norm)


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
    """l1 Σ|w| + l2/2 Σw² over the weights, in float64, summed in index order: what the penalties add to the loss."""
    return kernels.penalty(parameters, penalized, float(l1), float(l2)) if l1 or l2 else 0.0
