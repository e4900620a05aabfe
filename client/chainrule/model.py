"""A trained model on this machine: it predicts without the service, with numpy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chainrule import safetensors
from chainrule.errors import ChainruleError, InvalidFile, InvalidInput

try:
    import numpy as np
    import numpy.typing as npt
except ModuleNotFoundError as error:
    raise ChainruleError("a model needs numpy: pip install numpy") from error

from chainrule.activations import ACTIVATIONS
from chainrule.inputs import encode

__all__ = ["Model", "forward", "probabilities"]

Array = npt.NDArray[np.floating[Any]]
FORMAT = "chainrule-model-1"


def forward(x: Array, weights: Sequence[Array], biases: Sequence[Array], activations: Sequence[str]) -> Array:
    """The network's raw outputs (rows × outputs): y = f(x W + b), layer after layer; the last has no activation."""
    for w, b, activation in zip(weights, biases, (*activations, "identity"), strict=True):
        x = ACTIVATIONS[activation](x @ w + b).astype(x.dtype, copy=False)
    return x


def probabilities(outputs: Array) -> npt.NDArray[np.float64]:
    """rows × classes: the softmax of the raw outputs; for one output z, two classes (1 - σ(z), σ(z))."""
    z = outputs.astype(np.float64)
    if z.shape[1] == 1:
        z = np.hstack([np.zeros_like(z), z])  # σ(z) is the softmax of (0, z)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Model:
    """A network with its trained parameters, and the way from a table to its inputs and from its outputs to values."""

    weights: list[Array] = field(repr=False)
    """Of each dense layer, inputs × outputs; the output layer last."""
    biases: list[Array] = field(repr=False)
    """Of each dense layer, (outputs,)."""
    spec: Mapping[str, Any] = field(repr=False)
    """The spec that it was trained with."""
    preprocessing: Mapping[str, Any] = field(repr=False)
    """What was fitted on the training rows."""
    parameters_sha256: str
    """SHA-256 over the parameters, as the job has it."""

    @classmethod
    def load(cls, path: str | Path) -> "Model":
        """Reads a model file, such as `chainrule download` writes. Raises InvalidFile."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from error
        try:
            return cls.from_bytes(content)
        except ChainruleError as error:
            raise InvalidFile(f"{path}: {error}") from error

    @classmethod
    def from_bytes(cls, content: bytes) -> "Model":
        """From the content of a model file. Raises ChainruleError where it is none, or of a later format."""
        header = safetensors.header(content)
        if header is None:
            raise ChainruleError("this is not a safetensors file: it ends early")
        metadata = safetensors.metadata(header)
        if metadata.get("format") != FORMAT:
            raise ChainruleError(f"got a model of format {metadata.get('format')}, expected {FORMAT}")
        tensors = safetensors.tensors(content, header)
        layers = range(len(tensors) // 2)
        return cls(
            weights=[tensors[f"layers.{number}.weights"] for number in layers],
            biases=[tensors[f"layers.{number}.bias"] for number in layers],
            spec=json.loads(metadata["spec"]),
            preprocessing=json.loads(metadata["preprocessing"]),
            parameters_sha256=metadata["parameters_sha256"],
        )

    @property
    def features(self) -> dict[str, str]:
        """The columns that it takes, and their types, in order."""
        return {feature["name"]: feature["type"] for feature in self.preprocessing["features"]}

    @cached_property
    def classes(self) -> npt.NDArray[Any] | None:
        """The classes, in the order of the probabilities; None for a regression."""
        classes = self.preprocessing["targets"][0]["classes"]
        return None if classes is None else np.array(classes)

    def predict(self, data: Any) -> npt.NDArray[Any]:
        """The class of each row; for a regression a number in the target's own units, or rows × targets of several.

        `data` is a table of pandas, Polars or Arrow, a dictionary of columns, a list of rows, or a numpy array; columns
        that the model does not take are left out. Raises InvalidInput naming row and column of a value that does not
        fit, and the row for which the network's numbers overflow.
        """
        if self.classes is not None:
            return np.asarray(self.classes[self.predict_proba(data).argmax(axis=1)])
        targets = self.preprocessing["targets"]
        scale, mean = (np.array([target[name] for target in targets]) for name in ("scale", "mean"))
        values = np.asarray(self._outputs(data).astype(np.float64) * scale + mean)
        return values.ravel() if len(targets) == 1 else values

    def predict_proba(self, data: Any) -> npt.NDArray[np.float64]:
        """rows × classes: how probable each class is. Raises as `predict`, and InvalidInput for a regression."""
        if self.classes is None:
            raise InvalidInput.of("model", "a regression", "a classification, which has probabilities")
        return probabilities(self._outputs(data))

    def _outputs(self, data: Any) -> Array:
        activations = [layer["activation"] for layer in self.spec["layers"] if layer["type"] == "dense"]
        with np.errstate(over="ignore", invalid="ignore"):  # told below, with the row
            x = encode(data, self.preprocessing["features"]).astype(self.weights[0].dtype)
            outputs = forward(x, self.weights, self.biases, activations)
        bad = ~np.isfinite(outputs).all(axis=1)
        if bad.any():
            expected = "values nearer to those of the training data: with these the network's output is not finite"
            raise InvalidInput.of(f"rows[{int(bad.argmax())}]", str(outputs[bad][0]), expected)
        return outputs
