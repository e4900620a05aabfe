"""Compiles every kernel ahead of time, so that no user waits for it: numba keeps the machine code on disk."""

import numpy as np
from pydantic import TypeAdapter

from shared import spec
from shared.losses import TrainableLoss
from shared.network import Network
from shared.optimizers import build_optimizer, penalty

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


def _one_step(network: Network, dtype: str) -> None:
    parameters = network.initial_parameters(seed=0)
    gradient = np.empty_like(parameters)
    x = np.ones((2, network.inputs), dtype)
    classification = isinstance(network.loss, spec.CrossEntropyLoss)
    y = np.zeros(2, np.int32) if classification else np.zeros((2, network.outputs), dtype)
    workspace = network.workspace(2, training=True)
    network.forward(parameters, x, workspace)
    network.gradient(parameters, x, y, workspace, gradient, seed=0, step=0, shard=0)
    penalty(parameters, network.penalized, 1.0, 1.0)
    adapter: TypeAdapter[spec.Optimizer] = TypeAdapter(spec.Optimizer)
    for settings in OPTIMIZERS:
        for clip_norm in (None, 1.0):
            rule = build_optimizer(
                adapter.validate_python(settings), network.size, dtype, network.penalized, clip_norm=clip_norm
            )
            rule.update(parameters, gradient, divisor=2.0, learning_rate=0.0, step=1)


if __name__ == "__main__":
    for real in ("float32", "float64"):
        warm(real)
