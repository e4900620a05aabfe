"""After warming up, training compiles nothing more."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from shared import kernels, spec
from shared.metrics import measure
from shared.network import Network
from shared.optimizers import build_optimizer
from shared.warmup import warm

LOSSES = [
    spec.CrossEntropyLoss(type="cross_entropy"),
    spec.MseLoss(type="mse"),
    spec.MaeLoss(type="mae"),
    spec.HuberLoss(type="huber"),
]


def compiled() -> dict[str, int]:
    """How many variants of each kernel are compiled in this process."""
    functions: dict[str, Any] = vars(kernels)
    return {name: len(value.signatures) for name, value in functions.items() if hasattr(value, "signatures")}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_after_warming_up_compiles_nothing(dtype: str) -> None:
    warm(dtype)
    before = compiled()
    layers: list[spec.Layer] = [spec.Dense(type="dense", units=3, activation=name) for name in spec.ACTIVATIONS]
    layers.append(spec.Dropout(type="dropout", rate=0.5))
    for loss in LOSSES:
        for outputs in (1, 3):
            network = Network(layers, 2, outputs, loss, dtype)
            parameters = network.initial_parameters(0)
            received = parameters.copy()
            received.flags.writeable = False  # as a worker gets them
            classification = isinstance(loss, spec.CrossEntropyLoss)
            y = np.zeros(4, np.int32) if classification else np.zeros((4, outputs), dtype)
            x, gradient, workspace = np.ones((4, 2), dtype), parameters.copy(), network.workspace(4, training=True)
            network.gradient(received, x, y, workspace, gradient, seed=0, step=0, shard=0)
            measure(network.forward(received, x, network.workspace(4, training=False)), y, loss)
    for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad"):
        settings: spec.Optimizer = TypeAdapter(spec.Optimizer).validate_python({"type": name})
        optimizer = build_optimizer(settings, network.size, dtype, network.penalized, 0.1, 0.1, 1.0)
        optimizer.update(parameters, gradient, divisor=4, learning_rate=0.1, step=1)
    assert compiled() == before
