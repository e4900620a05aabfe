"""The network that every benchmark of training trains, its random data, and how many operations that takes."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import Client

__all__ = ["SHARDS", "WIDTHS", "WORKERS", "flop_per_sample", "job", "parameters", "upload", "write_rows"]

WIDTHS = (784, 512, 256, 10)  # inputs, hidden layers, classes
WORKERS = 2
SHARDS = 8
VALIDATION_ROWS = 16
NEVER_S = 86_400.0


def upload(client: Client, folder: Path, rows: int) -> Path:
    """Makes `rows` random rows and a few to validate on the service's data sets; the npz file of the former."""
    paths = [write_rows(folder, count) for count in (rows, VALIDATION_ROWS)]
    for path, count in zip(paths, (rows, VALIDATION_ROWS), strict=True):
        client.add_dataset(path, f"{count} rows")
    return paths[0]


def write_rows(folder: Path, rows: int) -> Path:
    """An npz file of random rows: x float32 (rows, inputs), y int64 (rows,)."""
    random = np.random.default_rng(rows)
    path = folder / f"{rows}-rows.npz"
    np.savez(path, x=random.standard_normal((rows, WIDTHS[0]), np.float32), y=random.integers(0, WIDTHS[-1], rows))
    return path


def job(rows: int, batch_size: int, epochs: int, widths: Sequence[int] = WIDTHS, **changes: Any) -> dict[str, Any]:
    """A spec that trains a network on rows that were uploaded.

    It validates on a few rows after each epoch: so the engine looks at its clock at the end of each, not up to a tenth
    of a second later.
    """
    return {
        "name": f"{rows:,} rows, batch {batch_size:,}",
        "dataset": f"{rows} rows",
        "validation": {"dataset": f"{VALIDATION_ROWS} rows"},
        "target": "y",
        "task": "classification",
        "layers": [{"type": "dense", "units": units, "activation": "relu"} for units in widths[1:-1]],
        "optimizer": {"type": "adam"},
        "preprocessing": {"standardize": False},
        "batch_size": batch_size,
        "epochs": epochs,
        "shards": SHARDS,
        "workers": {"min": WORKERS, "max": WORKERS},
        "checkpoint": {"every_s": NEVER_S},
        **changes,
    }


def parameters(widths: Sequence[int] = WIDTHS) -> int:
    """Weights and biases."""
    return sum(before * after + after for before, after in pairwise(widths))


def flop_per_sample(widths: Sequence[int] = WIDTHS) -> int:
    """Floating-point operations of the matrix products in a training step, per row.

    Forward, the gradient by the weights, and the gradient by the inputs (of all layers but the first) take
    2 · inputs · outputs each.
    """
    products = [2 * before * after for before, after in pairwise(widths)]
    return 3 * sum(products) - products[0]
