"""The layers of a network: how each computes its output, and how it passes a gradient back.

A layer holds no numbers of its own. Parameters are slices of one flat vector, and what a pass leaves behind for the way
back lies in `Buffers`, which are made once. Every array is rows × width, C-contiguous, of the network's dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np

from shared import kernels
from shared.randomness import Purpose, philox, uniform
from shared.spec import Activation

__all__ = ["Buffers", "DenseLayer", "DropoutLayer", "Slot", "aligned"]

HE: frozenset[Activation] = frozenset({"relu", "leaky_relu", "elu", "gelu", "silu", "softplus"})
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialized array that starts on a cache line."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class Slot(NamedTuple):
    """Where a dense layer's parameters lie in the flat vector: weights (inputs × outputs, row-major), then bias."""

    weights: slice
    bias: slice
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Buffers:
    """The memory of one layer, for a number of rows: its output, and what its way back needs."""

    output: np.ndarray
    bias: np.ndarray  # for parameters that may be read-only: a copy, as kernels are compiled for one kind of array only
    slope: np.ndarray | None = None  # f'(t), where it does not follow from f(t)
    draws: np.ndarray | None = None  # dropout's random numbers, float32

    def first(self, rows: int) -> "Buffers":
        """The same memory, cut to its first rows."""
        slope, draws = self.slope, self.draws
        return Buffers(
            self.output[:rows],
            self.bias,
            None if slope is None else slope[:rows],
            None if draws is None else draws[:rows],
        )


class DenseLayer:
    """y = f(x W + b), with W inputs × outputs."""

    def __init__(self, slot: Slot, activation: Activation) -> None:
        self.slot = slot
        self.activation = activation
        self.inputs = slot.inputs
        self.outputs = slot.outputs
        self._code = kernels.CODES[activation]
        self._saves_slope = activation in kernels.SAVES_DERIVATIVE

    def buffers(self, rows: int, dtype: np.dtype, *, training: bool, output: np.ndarray | None = None) -> Buffers:
        """Memory for at most `rows` rows; `output` may be given, to share it."""
        return Buffers(
            output=aligned((rows, self.outputs), dtype) if output is None else output,
            bias=aligned((self.outputs,), dtype),
            slope=aligned((rows, self.outputs), dtype) if training and self._saves_slope else None,
        )

    def initial_weights(self, seed: int, number: int, *, output_layer: bool) -> np.ndarray:
        """inputs × outputs float64 numbers, uniform within ±limit.

        He et al. (2015), limit √(6 / inputs), for what resembles relu; else Glorot & Bengio (2010), limit
        √(6 / (inputs + outputs)), which the output layer takes too. `number` counts dense layers from 0.
        """
        he = self.activation in HE and not output_layer
        limit = sqrt(6 / (self.inputs if he else self.inputs + self.outputs))
        generator = philox(seed, Purpose.INITIAL_WEIGHTS, layer=number)
        return uniform(generator, self.inputs * self.outputs, limit).reshape(self.inputs, self.outputs)

    def weights(self, vector: np.ndarray) -> np.ndarray:
        """The inputs × outputs view of this layer's weights, or of their gradient, in a flat vector."""
        return vector[self.slot.weights].reshape(self.inputs, self.outputs)

    def forward(self, parameters: np.ndarray, x: np.ndarray, buffers: Buffers) -> np.ndarray:
        """The layer's output, in its buffer; nothing is kept for a way back."""
        np.matmul(x, self.weights(parameters), out=buffers.output)
        np.copyto(buffers.bias, parameters[self.slot.bias])
        kernels.activate(buffers.output, buffers.bias, self._code)
        return buffers.output

    def bind(self, parameters: np.ndarray, x: np.ndarray, buffers: Buffers) -> Callable[[], None]:
        """A call that computes the layer's output into its buffer and keeps what the way back needs."""
        weights, bias, y, slope = self.weights(parameters), parameters[self.slot.bias], buffers.output, buffers.slope
        code, matmul = self._code, np.matmul

        def forward() -> None:
            matmul(x, weights, y)
            if slope is None:
                kernels.activate(y, bias, code)
            else:
                kernels.activate_and_save(y, bias, slope, code)

        return forward

    def bind_backward(
        self,
        parameters: np.ndarray,
        x: np.ndarray,
        delta: np.ndarray,
        buffers: Buffers,
        out: np.ndarray,
        input_gradient: np.ndarray | None,
    ) -> Callable[[], None]:
        """A call that makes from `delta`, the loss's gradient by this layer's output, which it overwrites: the gradient
        by the weights (xᵀ δ) and bias (column sums of δ) in `out`, and by the input (δ Wᵀ) in `input_gradient`, if
        wanted."""
        saved = buffers.output if buffers.slope is None else buffers.slope
        weights_gradient, bias_gradient = self.weights(out), out[self.slot.bias]
        x_transposed, weights_transposed = x.T, self.weights(parameters).T
        code, matmul = self._code, np.matmul

        def backward() -> None:
            kernels.backpropagate(delta, saved, bias_gradient, code)
            matmul(x_transposed, delta, weights_gradient)
            if input_gradient is not None:
                matmul(delta, weights_transposed, input_gradient)

        return backward


class DropoutLayer:
    """In training, sets each value to 0 with probability `rate` and scales the others by 1 / (1 - rate); else nothing.

    Srivastava et al., "Dropout" (2014), in its inverted form, so that predictions need no scaling.
    """

    def __init__(self, width: int, rate: float, number: int) -> None:
        self.outputs = width
        self._number = number  # of the layer, within the spec's layers
        self._rate = np.float32(rate)
        self._scale = 1 / (1 - rate)

    def buffers(self, rows: int, dtype: np.dtype) -> Buffers:
        """Memory for at most `rows` rows of training."""
        shape = (rows, self.outputs)
        return Buffers(aligned(shape, dtype), aligned((0,), dtype), draws=aligned(shape, np.dtype(np.float32)))

    def draw(self, buffers: Buffers, seed: int, step: int, shard: int) -> None:
        """Draws the numbers that decide which values of a shard are dropped."""
        assert buffers.draws is not None
        stream = philox(seed, Purpose.DROPOUT, index=step, shard=shard, layer=self._number)
        np.random.Generator(stream).random(out=buffers.draws, dtype=np.float32)

    def forward(self, x: np.ndarray, buffers: Buffers) -> None:
        """Copies x with a part of its values dropped into the buffer."""
        np.copyto(buffers.output, x)
        self.drop(buffers.output, buffers)

    def drop(self, values: np.ndarray, buffers: Buffers) -> None:
        """Drops the drawn part of `values` and scales the others, in place: also the way back, for a gradient."""
        kernels.drop(values, buffers.draws, self._rate, values.dtype.type(self._scale))
