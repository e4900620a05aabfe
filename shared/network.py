"""A network: layers in order over one flat vector of parameters, and the gradient of a loss by it."""

from collections.abc import Sequence

import numpy as np

from shared.errors import InvalidInput
from shared.layers import Buffers, DenseLayer, Draw, DropoutLayer, Slot, aligned
from shared.losses import TrainableLoss, loss_and_gradient
from shared.spec import CrossEntropyLoss, Dense, Dropout, InitialParameters, Layer

__all__ = ["Network", "Slot", "Workspace"]


class Workspace:
    """All memory that passes over at most `rows` rows need, made once; its content between passes means nothing."""

    def __init__(self, network: "Network", rows: int, *, training: bool) -> None:
        if rows < 1:
            raise ValueError(f"got a workspace for {rows} rows, expected at least 1")
        self.rows = rows
        self.training = training
        widest = max(layer.outputs for layer in network.layers)
        dtype = network.dtype
        turns = (aligned((rows * widest,), dtype), aligned((rows * widest,), dtype))
        self.gradients = turns  # flat: the gradient by a layer's output, and by its input, by turns
        self._buffers = (
            [self._for_training(layer, rows, dtype) for layer in network.layers]
            if training
            else self._for_evaluation(network, rows)
        )
        classification = isinstance(network.loss, CrossEntropyLoss)
        self._y = aligned((rows,), np.dtype(np.int32)) if classification else aligned((rows, network.outputs), dtype)
        self.sums = np.empty(network.outputs)
        self._cut: tuple[int, list[Buffers], np.ndarray] = (rows, self._buffers, self._y)

    @staticmethod
    def _for_training(layer: DenseLayer | DropoutLayer, rows: int, dtype: np.dtype) -> Buffers:
        if isinstance(layer, DropoutLayer):
            return layer.buffers(rows, dtype)
        return layer.buffers(rows, dtype, training=True)

    def _for_evaluation(self, network: "Network", rows: int) -> list[Buffers]:
        """Two memories for all layers: one to read, one to write, by turns."""
        buffers, turn = [], 0
        for layer in network.layers:
            output = self.gradients[turn][: rows * layer.outputs].reshape(rows, layer.outputs)
            if isinstance(layer, DropoutLayer):
                buffers.append(Buffers(output, output[:0]))
            else:
                buffers.append(layer.buffers(rows, network.dtype, training=False, output=output))
                turn = 1 - turn
        return buffers

    def cut(self, rows: int) -> tuple[list[Buffers], np.ndarray]:
        """The layers' buffers and the memory for y, cut to `rows` rows; kept, since most passes cut alike."""
        if self._cut[0] != rows:
            self._cut = (rows, [buffers.first(rows) for buffers in self._buffers], self._y[:rows])
        return self._cut[1], self._cut[2]


class Network:
    """Hidden layers as a spec gives them, then a dense output layer without activation, and a loss.

    Args:
        layers: the hidden layers; [] is a linear model.
        inputs: width of the input.
        outputs: width of the output: 1 for two classes, else the number of classes, or of a regression's targets.
        loss: what is minimized. Cross-entropy applies the sigmoid (one output) or softmax (several) itself.
        dtype: "float32" or "float64", of parameters, activations and gradients.
    """

    def __init__(
        self, layers: Sequence[Layer], inputs: int, outputs: int, loss: TrainableLoss, dtype: str = "float32"
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"got dtype {dtype!r}, expected float32 or float64")
        if inputs < 1 or outputs < 1:
            raise ValueError(f"got {inputs} inputs and {outputs} outputs, expected at least 1 of each")
        self.inputs = inputs
        self.outputs = outputs
        self.loss = loss
        self.dtype = np.dtype(dtype)
        self.layers: list[DenseLayer | DropoutLayer] = []
        self.size = 0
        width = inputs
        for number, layer in enumerate(layers):
            width = self._append(layer, width, number)
        self._append(Dense(type="dense", units=outputs, activation="identity"), width, len(layers))
        self._dense = [layer for layer in self.layers if isinstance(layer, DenseLayer)]
        self.slots: tuple[Slot, ...] = tuple(layer.slot for layer in self._dense)
        self.penalized = np.zeros(self.size, dtype=np.uint8)
        for slot in self.slots:
            self.penalized[slot.weights] = 1

    def _append(self, layer: Layer, width: int, number: int) -> int:
        """Adds a layer over an input of that width; returns the width of its output."""
        if isinstance(layer, Dropout):
            if layer.rate > 0:
                self.layers.append(DropoutLayer(width, layer.rate, number))
            return width
        bias = self.size + width * layer.units
        slot = Slot(slice(self.size, bias), slice(bias, bias + layer.units), width, layer.units)
        self.layers.append(DenseLayer(slot, layer.activation))
        self.size = slot.bias.stop
        return layer.units

    def initial_parameters(self, seed: int, given: InitialParameters | None = None) -> np.ndarray:
        """The flat vector that training starts from: what is given, or random weights by `seed` and zero biases.

        Raises InvalidInput when what is given does not fit the layers (`initial_parameters.weights[0]`).
        """
        parameters = aligned((self.size,), self.dtype)
        if given is not None:
            self._fill(parameters, given)
            return parameters
        for number, layer in enumerate(self._dense):
            last = number == len(self._dense) - 1
            layer.weights(parameters)[...] = layer.initial_weights(seed, number, output_layer=last)
            parameters[layer.slot.bias] = 0
        return parameters

    def _fill(self, parameters: np.ndarray, given: InitialParameters) -> None:
        for name, values in (("weights", given.weights), ("biases", given.biases)):
            if len(values) != len(self.slots):
                expected = f"{len(self.slots)}, one for each dense layer, the output layer last"
                raise InvalidInput.of(f"initial_parameters.{name}", f"{len(values)} {name}", expected)
        for number, slot in enumerate(self.slots):
            field = f"initial_parameters.weights[{number}]"
            rows = given.weights[number]
            if len(rows) != slot.inputs:
                expected = f"{slot.inputs} rows, one for each input, of {slot.outputs} numbers, one for each output"
                raise InvalidInput.of(field, f"{len(rows)} rows", expected)
            for i, row in enumerate(rows):
                start = slot.weights.start + i * slot.outputs
                self._fill_row(parameters[start : start + slot.outputs], row, f"{field}[{i}]")
            self._fill_row(parameters[slot.bias], given.biases[number], f"initial_parameters.biases[{number}]")

    def _fill_row(self, into: np.ndarray, numbers: list[float], field: str) -> None:
        if len(numbers) != len(into):
            expected = f"{len(into)} numbers, one for each output of the layer"
            raise InvalidInput.of(field, f"{len(numbers)} numbers", expected)
        limit = float(np.finfo(self.dtype).max)
        for number in numbers:
            if not abs(number) <= limit:
                raise InvalidInput.of(field, number, f"numbers within {self.dtype.name}, up to ±{limit:.3g}")
        into[:] = numbers

    def workspace(self, rows: int, *, training: bool) -> Workspace:
        """Memory for passes over at most `rows` rows; for `forward` alone when not training."""
        return Workspace(self, rows, training=training)

    def forward(self, parameters: np.ndarray, x: np.ndarray, workspace: Workspace) -> np.ndarray:
        """The raw outputs (logits, for cross-entropy) for x, without dropout.

        Args:
            parameters: (size,), of the network's dtype.
            x: rows × inputs, of the network's dtype, C-contiguous; no more rows than the workspace has.

        Returns rows × outputs, a view into the workspace that the next pass overwrites.
        """
        self._check(parameters, x, workspace)
        return self._forward(parameters, x, workspace.cut(len(x))[0], None)[-1]

    def gradient(
        self,
        parameters: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        workspace: Workspace,
        out: np.ndarray,
        *,
        seed: int,
        step: int,
        shard: int,
    ) -> float:
        """Writes the gradient of the loss, summed over the rows, into `out`; returns the loss, summed over the rows.

        Dropout is on, its random numbers keyed by seed, step and shard. Penalties (l1, l2) are not in it.

        Args:
            parameters, x: as for `forward`.
            y: int32 (rows,) class codes for cross-entropy, else rows × outputs of the network's dtype.
            workspace: one for training.
            out: (size,), of the network's dtype, overwritten.
        """
        self._check(parameters, x, workspace)
        if not workspace.training:
            raise ValueError("got a workspace for evaluation, expected one for training")
        if out.shape != (self.size,) or out.dtype != self.dtype:
            raise ValueError(f"got {out.dtype} {out.shape} for the gradient, expected {self.dtype} ({self.size},)")
        rows = len(x)
        buffers, targets = workspace.cut(rows)
        np.copyto(targets, y, casting="no")
        passed = self._forward(parameters, x, buffers, Draw(seed, step, shard))
        delta = self._turn(workspace, 0, rows, self.outputs)
        loss = loss_and_gradient(self.loss, passed[-1], targets, delta, workspace.sums)
        self._backward(parameters, passed, delta, workspace, buffers, out)
        return loss

    def _forward(
        self, parameters: np.ndarray, x: np.ndarray, buffers: list[Buffers], draw: Draw | None
    ) -> list[np.ndarray]:
        """x and every layer's output."""
        passed = [x]
        for layer, memory in zip(self.layers, buffers, strict=True):
            passed.append(layer.forward(parameters, passed[-1], memory, draw))
        return passed

    def _backward(
        self,
        parameters: np.ndarray,
        passed: list[np.ndarray],
        delta: np.ndarray,
        workspace: Workspace,
        buffers: list[Buffers],
        out: np.ndarray,
    ) -> None:
        """Walks from the output layer down to the first dense layer, below which nothing has parameters."""
        first = self.layers.index(self._dense[0])
        turn = 0
        for number in range(len(self.layers) - 1, first - 1, -1):
            layer = self.layers[number]
            if isinstance(layer, DropoutLayer):
                layer.backward(delta, buffers[number])
                continue
            below = None
            if number > first:
                turn = 1 - turn
                below = self._turn(workspace, turn, len(delta), layer.inputs)
            layer.backward(parameters, passed[number], delta, buffers[number], out, below)
            if below is not None:
                delta = below

    @staticmethod
    def _turn(workspace: Workspace, turn: int, rows: int, width: int) -> np.ndarray:
        return workspace.gradients[turn][: rows * width].reshape(rows, width)

    def _check(self, parameters: np.ndarray, x: np.ndarray, workspace: Workspace) -> None:
        if parameters.shape != (self.size,) or parameters.dtype != self.dtype:
            got = f"{parameters.dtype} {parameters.shape}"
            raise ValueError(f"got parameters {got}, expected {self.dtype} ({self.size},)")
        if x.ndim != 2 or x.shape[1] != self.inputs or x.dtype != self.dtype:
            raise ValueError(f"got x {x.dtype} {x.shape}, expected {self.dtype} (rows, {self.inputs})")
        if len(x) > workspace.rows:
            raise ValueError(f"got {len(x)} rows, expected at most the workspace's {workspace.rows}")
