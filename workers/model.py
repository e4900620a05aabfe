"""The model file: one safetensors file that holds the weights and all that is needed to predict with them."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from shared.plan import Plan
from shared.preprocessing import FittedPreprocessing
from workers.disk import DISK, Disk, write_atomically
from workers.gradient_worker import network_of

__all__ = ["FORMAT", "write_model"]

FORMAT = "chainrule-model-1"


def write_model(
    path: Path,
    plan: Plan,
    preprocessing: FittedPreprocessing,
    parameters: npt.NDArray[np.floating],
    digest: str,
    disk: Disk = DISK,
) -> None:
    """Writes the model, wholly or not at all.

    Tensors `layers.0.weights` (inputs × outputs), `layers.0.bias`, …: the dense layers in order, the output layer last.
    Metadata: `format`, and as JSON `spec`, `preprocessing`, `classes`; `parameters_sha256`; `version`. Raises OSError.
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    for number, slot in enumerate(network_of(plan).slots):
        tensors[f"layers.{number}.weights"] = parameters[slot.weights].reshape(slot.inputs, slot.outputs)
        tensors[f"layers.{number}.bias"] = parameters[slot.bias]
    classes = preprocessing.targets[0].classes
    metadata = {
        "format": FORMAT,
        "spec": plan.spec.model_dump_json(),
        "preprocessing": preprocessing.model_dump_json(),
        "classes": json.dumps(classes),
        "parameters_sha256": digest,
        "version": version("chainrule-service"),
    }
    write_atomically(path, [save(tensors, metadata)], disk)
