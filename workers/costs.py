"""What a training will cost, from its sizes alone, and the limits on it: looked at before anything is allocated."""

from dataclasses import dataclass
from itertools import pairwise

from shared.errors import InvalidInput
from shared.sharding import SLICE_ROWS, vectors_held
from shared.spec import Adagrad, Dense, JobSpec, RMSprop, Sgd
from workers.order import ROWS_IN_MEMORY

__all__ = ["Costs", "check_costs", "costs_of", "prepared_bytes"]

MAX_PARAMETERS = 500_000_000
MAX_STEPS = 1_000_000_000
MAX_FLOPS = 10**19  # a month on ten AVX-512 cores
MAX_MEMORY_BYTES = 1 << 40
MAX_DISK_BYTES = 1 << 38
PROCESS_BYTES = 160 << 20  # an idle Ray actor with numpy, numba and pyarrow loaded; one for each worker
ORDER_BYTES = 4 * 8  # a row, of a long order: the epoch's, the one before, and what it is made of


@dataclass(frozen=True)
class Costs:
    """Sizes of one training."""

    parameters: int
    steps_per_epoch: int
    steps: int
    flops: int
    memory_bytes: int
    disk_bytes: int


def costs_of(
    spec: JobSpec, inputs: int, outputs: int, training_rows: int, validation_rows: int, stored_bytes: int
) -> Costs:
    """The costs of a completed spec on so many rows, each input of which is stored in `stored_bytes`."""
    widths = [inputs, *(layer.units for layer in spec.layers if isinstance(layer, Dense)), outputs]
    products = sum(before * after for before, after in pairwise(widths))
    parameters = products + sum(widths[1:])
    steps_per_epoch = -(-training_rows // spec.batch_size)
    itemsize = 8 if spec.dtype == "float64" else 4
    vectors = 2 + _slots(spec) + (spec.early_stopping is not None)  # the server's: weights, regularized, slots, best
    workers = min(spec.workers.max, spec.shards)
    shard_rows = -(-min(spec.batch_size, training_rows) // spec.shards)
    rows = max(shard_rows, min(SLICE_ROWS, validation_rows))
    activations = rows * 3 * sum(widths)  # values before and after the activation, and their gradients
    gradients = sum(vectors_held(min(spec.batch_size, training_rows), spec.shards, workers))
    copied = vectors - 1  # while a checkpoint is written: all but the regularized gradient
    numbers = parameters * (vectors + copied + gradients) + workers * activations
    data_bytes = prepared_bytes(spec, inputs, outputs, training_rows, validation_rows, stored_bytes)
    return Costs(
        parameters=parameters,
        steps_per_epoch=steps_per_epoch,
        steps=steps_per_epoch * spec.epochs,
        flops=spec.epochs * products * (6 * training_rows + 2 * validation_rows),
        memory_bytes=workers * PROCESS_BYTES + numbers * itemsize,
        disk_bytes=data_bytes + parameters * itemsize * (3 * vectors + 1),
    )


def prepared_bytes(
    spec: JobSpec, inputs: int, outputs: int, training_rows: int, validation_rows: int, stored_bytes: int
) -> int:
    """Bytes on disk of the matrices that a completed spec is trained from, and of the orders of their rows."""
    y_bytes = 4 if spec.task == "classification" else outputs * (8 if spec.dtype == "float64" else 4)
    size_bytes = (training_rows + validation_rows) * (inputs * stored_bytes + y_bytes)
    if spec.shuffle and training_rows > ROWS_IN_MEMORY:
        size_bytes += training_rows * ORDER_BYTES
    return size_bytes


def _slots(spec: JobSpec) -> int:
    """Vectors that the optimizer keeps."""
    if isinstance(spec.optimizer, Sgd):
        return int(spec.optimizer.momentum > 0)
    return 1 if isinstance(spec.optimizer, RMSprop | Adagrad) else 2


def check_costs(spec: JobSpec, costs: Costs) -> None:
    """Raises InvalidInput, naming the field to lower, for what no machine of ours could finish."""
    if costs.parameters > MAX_PARAMETERS:
        dense = [(layer.units, index) for index, layer in enumerate(spec.layers) if isinstance(layer, Dense)]
        field = f"layers[{max(dense)[1]}].units" if dense else "features"
        got = max(dense)[0] if dense else len(spec.features or ())
        expected = f"a network of at most {MAX_PARAMETERS:,} parameters; this one has {costs.parameters:,}"
        raise InvalidInput.of(field, got, expected)
    if costs.steps > MAX_STEPS:
        expected = f"at most {MAX_STEPS:,} steps; {costs.steps_per_epoch:,} an epoch make {costs.steps:,}"
        raise InvalidInput.of("epochs", spec.epochs, expected)
    if costs.flops > MAX_FLOPS:
        expected = f"at most {MAX_FLOPS:.0e} floating-point operations in all; these epochs take {costs.flops:.1e}"
        raise InvalidInput.of("epochs", spec.epochs, expected)
    if costs.memory_bytes > MAX_MEMORY_BYTES:
        expected = (
            f"{_gib(MAX_MEMORY_BYTES)} of memory at most; such batches and layers need {_gib(costs.memory_bytes)}"
        )
        raise InvalidInput.of("batch_size", spec.batch_size, expected)
    if costs.disk_bytes > MAX_DISK_BYTES:
        expected = f"prepared data of {_gib(MAX_DISK_BYTES)} at most; these features make {_gib(costs.disk_bytes)}"
        raise InvalidInput.of("features", len(spec.features or ()), expected)


def _gib(size: int) -> str:
    return f"{size / 2**30:,.0f} GiB"
