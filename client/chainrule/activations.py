"""The activation functions of a network, in numpy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATIONS"]

Array = npt.NDArray[Any]
LEAKY_SLOPE = 0.01
_erf = np.frompyfunc(math.erf, 1, 1)  # numpy has none of its own


def _sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))  # never overflows
    return np.asarray(np.where(z > 0, 1, e) / (1 + e))


def _gelu(z: Array) -> Array:
    cumulative = (1 + np.asarray(_erf(z.astype(np.float64) * math.sqrt(0.5)), dtype=np.float64)) / 2
    return z * cumulative


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, LEAKY_SLOPE * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "gelu": _gelu,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(z, 0),
    "silu": lambda z: z * _sigmoid(z),
}
