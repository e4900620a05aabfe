"""A network: layers in order over one flat vector of parameters, and the gradient of a loss by it."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from shared.errors import InvalidInput
from shared.layers import Buffers, DenseLayer, DropoutLayer, Slot, aligned
from shared.losses import TrainableLoss, loss_and_gradient
from shared.sharding import SLICE_ROWS
from shared.spec import CrossEntropyLoss, Dense, Dropout, InitialParameters, Layer

__all__ = ["Network", "Pass", "Slot", "Workspace"]

SLICE_NUMBERS = 16 << 20  # of a layer's output, or of the input, over the rows that are looked at together


class Workspace:
    """All memory that passes over at most `rows` rows need, made once; its content between passes means nothing.

    For training, `x` and `y` are where a batch's rows are put.
    """

    def __init__(self, network: "Network", rows: int, *, training: bool) -> None:
        if rows < 1:
            raise ValueError(f"got a workspace for {rows} rows, expected at least 1")
        self.rows = rows
        self.training = training
        widest = max(layer.outputs for layer in network.layers)
        dtype = network.dtype
        turns = (aligned((rows * widest,), dtype), aligned((rows * widest,), dtype))
        self.gradients = turns  # flat: the gradient by a layer's output, and by its input, by turns
        if training:
            self._buffers = [self._for_training(layer, rows, dtype) for layer in network.layers]
            classification = isinstance(network.loss, CrossEntropyLoss)
            self.x = aligned((rows, network.inputs), dtype)
            self.y = aligned((rows,), np.dtype(np.int32)) if classification else aligned((rows, network.outputs), dtype)
            self.sums = np.empty(network.outputs)
        else:
            self._buffers = self._for_evaluation(network, rows)
        self._cut: tuple[int, list[Buffers]] = (rows, self._buffers)

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

    def cut(self, rows: int) -> list[Buffers]:
        """The layers' buffers, cut to `rows` rows; kept, since most passes cut alike."""
        if self._cut[0] != rows:
            self._cut = (rows, [buffers.first(rows) for buffers in self._buffers])
        return self._cut[1]


class Pass:
    """Forward and backward over a fixed number of rows, between memories that never change: all views are made once.

    Put the rows into `x` and `y`, then call `run`. Made by `Network.bind`.
    """

    def __init__(
        self, network: "Network", parameters: np.ndarray, workspace: Workspace, rows: int, out: np.ndarray
    ) -> None:
        self.x, self.y = workspace.x[:rows], workspace.y[:rows]
        self._loss, self._sums = network.loss, workspace.sums
        self._draws: list[tuple[DropoutLayer, Buffers]] = []
        self._forward: list[Callable[[], None]] = []
        self._backward: list[Callable[[], None]] = []
        buffers = workspace.cut(rows)
        inputs = [self.x, *(memory.output for memory in buffers)]
        for layer, memory, x in zip(network.layers, buffers, inputs[:-1], strict=True):
            if isinstance(layer, DropoutLayer):
                self._draws.append((layer, memory))
                self._forward.append(partial(layer.forward, x, memory))
            else:
                self._forward.append(layer.bind(parameters, x, memory))
        self._outputs = inputs[-1]
        self._delta = delta = _turn(workspace, 0, rows, network.outputs)
        first = next(number for number, layer in enumerate(network.layers) if isinstance(layer, DenseLayer))
        turn = 0
        for number in range(len(network.layers) - 1, first - 1, -1):  # below the first dense layer are no parameters
            layer, memory = network.layers[number], buffers[number]
            if isinstance(layer, DropoutLayer):
                self._backward.append(partial(layer.drop, delta, memory))
                continue
            below = None
            if number > first:
                turn = 1 - turn
                below = _turn(workspace, turn, rows, layer.inputs)
            self._backward.append(layer.bind_backward(parameters, inputs[number], delta, memory, out, below))
            if below is not None:
                delta = below

    def run(self, *, seed: int, step: int, shard: int) -> float:
        """Writes the gradient of the loss, summed over the rows, into `out`; returns the loss, summed over the rows.

        Dropout is on, its random numbers keyed by seed, step and shard. Penalties (l1, l2) are not in it.
        """
        for layer, memory in self._draws:
            layer.draw(memory, seed, step, shard)
        for forward in self._forward:
            forward()
        loss = loss_and_gradient(self._loss, self._outputs, self.y, self._delta, self._sums)
        for backward in self._backward:
            backward()
        return loss


def _turn(workspace: Workspace, turn: int, rows: int, width: int) -> np.ndarray:
    return workspace.gradients[turn][: rows * width].reshape(rows, width)


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

    @property
    def slice_rows(self) -> int:
        """How many rows `forward` should be given at once, where no sum's bits depend on that: as many as validation
        takes, or fewer where the layers are so wide that these would take gigabytes."""
        widest = max(self.inputs, *(layer.outputs for layer in self.layers))
        return max(1, min(SLICE_ROWS, SLICE_NUMBERS // widest))

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
        self._check(parameters)
        if x.ndim != 2 or x.shape[1] != self.inputs or x.dtype != self.dtype:
            raise ValueError(f"got x {x.dtype} {x.shape}, expected {self.dtype} (rows, {self.inputs})")
        for layer, memory in zip(self.layers, workspace.cut(_at_most(workspace, len(x))), strict=True):
            if isinstance(layer, DenseLayer):
                x = layer.forward(parameters, x, memory)
        return x

    def bind(self, parameters: np.ndarray, workspace: Workspace, rows: int, out: np.ndarray) -> Pass:
        """A pass over `rows` rows that computes with the present content of `parameters` at each run.

        Args:
            parameters: (size,), of the network's dtype.
            workspace: one for training; passes that share it must not run at once. Into the pass's x, rows × inputs,
                and y, int32 (rows,) class codes for cross-entropy, else rows × outputs, go the rows.
            rows: at most the workspace's.
            out: (size,), of the network's dtype: where the gradient goes.
        """
        self._check(parameters)
        if not workspace.training:
            raise ValueError("got a workspace for evaluation, expected one for training")
        if out.shape != (self.size,) or out.dtype != self.dtype:
            raise ValueError(f"got {out.dtype} {out.shape} for the gradient, expected {self.dtype} ({self.size},)")
        return Pass(self, parameters, workspace, _at_most(workspace, rows), out)

    def _check(self, parameters: np.ndarray) -> None:
        if parameters.shape != (self.size,) or parameters.dtype != self.dtype:
            got = f"{parameters.dtype} {parameters.shape}"
            raise ValueError(f"got parameters {got}, expected {self.dtype} ({self.size},)")


def _at_most(workspace: Workspace, rows: int) -> int:
    if rows > workspace.rows:
        raise ValueError(f"got {rows} rows, expected at most the workspace's {workspace.rows}")
    return rows
