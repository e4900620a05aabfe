"""Trained models: read from their files, kept in memory while they are asked, and used to predict.

Predictions go through the very preprocessing and the very network that training went through.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.once import MadeOnce
from shared.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from shared.network import Network
    from shared.preprocessing import FittedPreprocessing

__all__ = ["Model", "Models", "load"]

MAX_CACHED = 16
MAX_CACHED_BYTES = 512 << 20
LARGE_BYTES = 64 << 20  # of models of which one is read at a time; smaller ones take a moment, and wait for none
MAX_NUMBERS = 1_000_000  # that are told at once, each with its name: some 300 MB while an answer is made
MAX_CHARACTERS = 64 << 20  # of these names, over all rows


@dataclass(frozen=True)
class Model:
    """A network with its trained parameters, and the way from rows to its inputs and from its outputs to values."""

    network: "Network"
    parameters: "npt.NDArray[np.floating]"
    preprocessing: "FittedPreprocessing"

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One prediction a row, as JSON data in the target's own units. Raises InvalidInput naming `rows[3].age`, or
        `rows` where there are more than MAX_NUMBERS probabilities, or numbers of several targets, to tell, or more than
        MAX_CHARACTERS of names."""
        from shared.preprocessing import columns_from_rows

        self._check_length(len(rows))
        columns = columns_from_rows(rows, self.preprocessing)
        at_once = min(self.network.slice_rows, len(rows))
        workspace = self.network.workspace(at_once, training=False)
        predictions: list[dict[str, Any]] = []
        for first in range(0, len(rows), at_once):
            part = {name: values[first : first + at_once] for name, values in columns.items()}
            try:
                predictions += self.preprocessing.decode(self._outputs(part, workspace))
            except InvalidInput as error:
                raise _shifted(error, first) from None
        return predictions

    def _check_length(self, rows: int) -> None:
        """Raises InvalidInput where there would be too much to tell of so many rows."""
        from shared.preprocessing import key_of

        classes = self.preprocessing.classes
        names = [target.name for target in self.preprocessing.targets] if classes is None else map(key_of, classes)
        lengths = [len(name) for name in names]
        most = MAX_NUMBERS // len(lengths)
        if rows > most:
            tells = f"tells {len(lengths):,} numbers of each"
        else:
            characters = sum(lengths) + max(lengths)  # a row tells each with its number, and one as its value
            most = max(1, MAX_CHARACTERS // characters)
            tells = f"tells {characters:,} characters of names with each"
        if rows > most:
            raise InvalidInput.of("rows", f"{rows:,} rows", f"at most {most:,} rows at once for a model that {tells}")

    def _outputs(self, columns: "Mapping[str, npt.NDArray[Any]]", workspace: Any) -> "npt.NDArray[Any]":
        import numpy as np

        from shared.losses import probabilities

        rows = len(next(iter(columns.values())))
        x = np.empty((rows, self.network.inputs), self.network.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by name, in `decode`
            self.preprocessing.encode_features(columns, x)
            outputs = self.network.forward(self.parameters, x, workspace)
            classes = self.preprocessing.classes
            return outputs if classes is None else probabilities(outputs, len(classes))


def _shifted(error: InvalidInput, rows: int) -> InvalidInput:
    """The same error, its `rows[i]` counted from the first row of all."""
    if rows == 0:
        return error
    wrong = error.errors[0]
    index = int(wrong.field.removeprefix("rows[").rstrip("]"))
    return InvalidInput.of(f"rows[{index + rows}]", wrong.got, wrong.expected)


def load(path: Path) -> Model:
    """Reads a model file. Raises NotFound when it is gone."""
    import numpy as np
    from safetensors import safe_open

    from shared.network import Network
    from shared.preprocessing import FittedPreprocessing
    from shared.spec import AutoLoss, JobSpec

    if not path.is_file():
        raise NotFound("the model's file is gone")
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        spec = JobSpec.model_validate_json(metadata["spec"])
        preprocessing = FittedPreprocessing.model_validate_json(metadata["preprocessing"])
        assert not isinstance(spec.loss, AutoLoss), "a model's spec names its loss"
        network = Network(spec.layers, preprocessing.inputs, preprocessing.outputs, spec.loss, spec.dtype)
        parameters = np.empty(network.size, network.dtype)
        for number, slot in enumerate(network.slots):
            parameters[slot.weights] = file.get_tensor(f"layers.{number}.weights").ravel()
            parameters[slot.bias] = file.get_tensor(f"layers.{number}.bias")
    return Model(network, parameters, preprocessing)


class Models:
    """Models by job, those asked last kept in memory. Each is read once, and waited for by all who ask for it; of those
    that are larger than `large_bytes`, one at a time."""

    def __init__(self, load: Callable[[Path], Model] = load, large_bytes: int = LARGE_BYTES) -> None:
        self._load, self._large_bytes = load, large_bytes
        self._reading_large = threading.Lock()
        self._models = MadeOnce[Model](MAX_CACHED, MAX_CACHED_BYTES, lambda model: model.parameters.nbytes)

    def get(self, job_id: str, path: Path) -> Model:
        """The model of a job, from memory or from its file. Raises NotFound when the file is gone."""
        return self._models.get(job_id, lambda: self._read(path))

    def _read(self, path: Path) -> Model:
        is_large = path.is_file() and path.stat().st_size > self._large_bytes
        with self._reading_large if is_large else nullcontext():
            return self._load(path)

    def forget(self, job_id: str) -> None:
        """The job is deleted."""
        self._models.forget(job_id)
