"""Compiles every kernel ahead of time, so that no user waits for it: numba keeps the machine code on disk."""

import numpy as np
from pydantic import TypeAdapter

from shared import spec
from shared.kernels import gather_standardized
from shared.losses import TrainableLoss
from shared.network import Network
from shared.optimizers import GradientSum, build_optimizer, penalty
from shared.randomness import Purpose, permutation

__all__ = ["warm"]

LAYERS: list[spec.Layer] = [
    spec.Dense(type="dense", units=3, activation="gelu"),
    spec.Dropout(type="dropout", rate=0.5),
    spec.Dense(type="dense", units=2, activation="relu"),
]
LOSSES: list[tuple[int, TrainableLoss]] = [
    (1, spec.CrossEntropyLoss(type="cross_entropy")),
    (3, spec.CrossEntropyLoss(type="cross_entropy")),
    (1, spec.MseLoss(type="mse")),
]
OPTIMIZERS = [
    {"type": "sgd"},
    {"type": "sgd", "momentum": 0.5},
    {"type": "adam"},
    {"type": "adamw"},
    {"type": "rmsprop"},
    {"type": "adagrad"},
]


def warm(dtype: str) -> None:
    """Runs every kernel once on a few numbers of that dtype: seconds the first time on a machine, else milliseconds."""
    for outputs, loss in LOSSES:
        network = Network(LAYERS, 2, outputs, loss, dtype)
        _one_step(network, dtype)
    _gather(dtype)


def _one_step(network: Network, dtype: str) -> None:
    parameters = network.initial_parameters(seed=0)
    gradient = np.empty_like(parameters)
    bound = network.bind(parameters, network.workspace(2, training=True), 2, gradient)
    bound.x.fill(1)
    bound.y.fill(0)
    network.forward(parameters, bound.x, network.workspace(2, training=False))
    bound.run(seed=0, step=0, shard=0)
    permutation(2, 0, Purpose.SHUFFLE)
    penalty(parameters, network.penalized, 1.0, 1.0)
    adapter: TypeAdapter[spec.Optimizer] = TypeAdapter(spec.Optimizer)
    for settings in OPTIMIZERS:
        for clip_norm in (None, 1.0):
            rule = build_optimizer(
                adapter.validate_python(settings), network.size, dtype, network.penalized, clip_norm=clip_norm
            )
            rule.update(parameters, GradientSum.of(gradient), divisor=2.0, learning_rate=0.0, step=1)


def _gather(dtype: str) -> None:
    """Rows of an x that is mapped into memory, and so read-only."""
    x = np.zeros((1, 1), np.uint8)
    x.flags.writeable = False
    gather_standardized(x, np.zeros(1, np.int64), np.zeros(1), np.ones(1), np.empty((1, 1), dtype))


if __name__ == "__main__":
    for real in ("float32", "float64"):
        warm(real)
