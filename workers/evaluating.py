"""A trained network on its validation rows: outputs beside the truth, on as many rows as there is time for."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.network import Network
from shared.preprocessing import FittedPreprocessing
from shared.spec import JobSpec
from shared.table import TableFile
from workers.encoding import reader
from workers.fitting import split_of, windows

__all__ = ["Evaluated", "evaluate"]

Array = npt.NDArray[Any]


class Evaluated(NamedTuple):
    """Outputs and truth of the same rows, in the order of the table."""

    outputs: Array
    """float64, rows × outputs: what the network says, logits for a classification."""
    truth: Array
    """int32 class codes (rows,) for a classification, else float64 rows × outputs, standardized as the outputs are."""
    of_rows: int
    """How many rows there were to choose from."""


def evaluate(
    spec: JobSpec,
    network: Network,
    parameters: npt.NDArray[np.floating],
    preprocessing: FittedPreprocessing,
    file: TableFile,
    most_rows: int,
) -> Evaluated:
    """Computes on at most `most_rows` of the validation rows, evenly chosen, in bounded memory.

    `file` is the data set that the spec's validation names, or, with a fraction, the one that was trained on. Raises
    DataMissing and BadData where that is not what it was.
    """
    split = split_of(spec, file.rows)
    of_rows = file.rows if split is None else file.rows - split.training_rows
    stride = max(1, -(-of_rows // most_rows))
    read = reader(preprocessing, file)
    workspace = network.workspace(network.slice_rows, training=False)
    outputs, truth, before = [], [], 0
    for window in windows(file.rows, preprocessing.inputs):
        numbers = np.arange(window.stop - window.start) if split is None else np.flatnonzero(split.validates(window))
        kept = numbers[-before % stride :: stride]
        before += len(numbers)
        for part in _parts(kept, network.slice_rows):
            columns = read(window, part)
            x = np.empty((len(part), network.inputs), network.dtype)
            preprocessing.encode_features(columns, x)
            y = np.empty(len(part), np.int32) if preprocessing.classes else np.empty((len(part), network.outputs))
            preprocessing.encode_targets(columns, y)
            outputs.append(network.forward(parameters, x, workspace).astype(np.float64))
            truth.append(y)
    return Evaluated(np.concatenate(outputs), np.concatenate(truth), of_rows)


def _parts(numbers: Array, rows: int) -> Iterator[Array]:
    """So many rows at once."""
    return (numbers[start : start + rows] for start in range(0, len(numbers), rows))
