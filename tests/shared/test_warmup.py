"""After warming up, training compiles nothing more."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from shared import kernels, spec
from shared.metrics import measure
from shared.network import Network
from shared.optimizers import GradientSum, build_optimizer
from shared.randomness import Purpose, permutation
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
            gradient = parameters.copy()
            bound = network.bind(parameters, network.workspace(4, training=True), 4, gradient)
            bound.x.fill(1)
            bound.y.fill(0)
            bound.run(seed=0, step=0, shard=0)
            measure(network.forward(parameters, bound.x, network.workspace(4, training=False)), bound.y, loss)
            permutation(4, 0, Purpose.SHUFFLE)
    for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad"):
        settings: spec.Optimizer = TypeAdapter(spec.Optimizer).validate_python({"type": name})
        optimizer = build_optimizer(settings, network.size, dtype, network.penalized, 0.1, 0.1, 1.0)
        optimizer.update(parameters, GradientSum.of(gradient), divisor=4, learning_rate=0.1, step=1)
    images = np.zeros((3, 2), np.uint8)
    images.flags.writeable = False  # as they are when mapped from a file
    kernels.gather_standardized(images, np.array([2, 0]), np.zeros(2), np.ones(2), np.empty((2, 2), dtype))
    assert compiled() == before
