"""Each layer alone: forward by hand, backward against central differences, dropout's statistics and its masks."""

import numpy as np
import pytest

from shared.layers import Buffers, DenseLayer, DropoutLayer, Slot
from shared.spec import ACTIVATIONS, Activation
from support.differences import derivative

FLOAT64 = np.dtype(np.float64)
DRAW = (3, 5, 1)  # seed, step, shard


def dense(activation: Activation, inputs: int = 3, outputs: int = 4) -> DenseLayer:
    weights = inputs * outputs
    return DenseLayer(Slot(slice(0, weights), slice(weights, weights + outputs), inputs, outputs), activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_dense_layers_gradients_equal_central_differences(activation: Activation) -> None:
    random = np.random.default_rng(1)
    layer, rows = dense(activation), 5
    parameters, x = random.standard_normal(16), random.standard_normal((rows, 3))
    upstream = random.standard_normal((rows, 4))
    buffers = layer.buffers(rows, FLOAT64, training=True)

    forward = layer.bind(parameters, x, buffers)

    def objective() -> float:
        forward()
        return float((upstream * buffers.output).sum())

    by_parameters, by_x = derivative(objective, parameters), derivative(objective, x)
    objective()
    out, input_gradient = np.full(16, np.nan), np.full((rows, 3), np.nan)
    layer.bind_backward(parameters, x, upstream.copy(), buffers, out, input_gradient)()
    np.testing.assert_allclose(out, by_parameters, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(input_gradient, by_x, rtol=1e-7, atol=1e-8)


def test_a_dense_layer_by_hand() -> None:
    layer = dense("relu", inputs=2, outputs=2)
    parameters = np.array([1.0, 2.0, 3.0, -4.0, 0.5, 1.0])  # W = [[1, 2], [3, -4]], b = [0.5, 1]
    y = layer.forward(parameters, np.array([[1.0, 1.0]]), layer.buffers(1, FLOAT64, training=False))
    assert y.tolist() == [[4.5, 0.0]]


def test_a_dense_layer_reads_parameters_that_may_not_be_written() -> None:
    layer = dense("tanh")
    parameters, x = np.linspace(-1, 1, 16), np.ones((2, 3))
    buffers = layer.buffers(2, FLOAT64, training=False)
    expected = layer.forward(parameters, x, buffers).copy()
    parameters.flags.writeable = False
    np.testing.assert_array_equal(layer.forward(parameters, x, buffers), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output_layer", [False, True])
def test_initial_weights_fill_the_range_of_he_or_glorot(activation: Activation, output_layer: bool) -> None:
    he = activation not in ("identity", "sigmoid", "tanh") and not output_layer
    limit = (6 / 67) ** 0.5 if he else (6 / (67 + 29)) ** 0.5
    weights = dense(activation, 67, 29).initial_weights(1, 0, output_layer=output_layer)
    assert weights.shape == (67, 29)
    assert 0.99 * limit < np.abs(weights).max() < limit
    assert abs(weights.mean()) < 0.05 * limit
    assert weights.var() == pytest.approx(limit**2 / 3, rel=0.1)


def dropped(
    rate: float, rows: int, width: int, draw: tuple[int, int, int] = DRAW, number: int = 0
) -> tuple[np.ndarray, Buffers]:
    layer = DropoutLayer(width, rate, number)
    buffers = layer.buffers(rows, FLOAT64)
    layer.draw(buffers, *draw)
    layer.forward(np.ones((rows, width)), buffers)
    return buffers.output, buffers


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest(rate: float) -> None:
    values, _ = dropped(rate, 500, 400)
    assert sorted(set(values.ravel())) == [0.0, 1 / (1 - rate)]
    deviation = (rate * (1 - rate) / values.size) ** 0.5
    assert (values == 0).mean() == pytest.approx(rate, abs=4 * deviation)
    assert values.mean() == pytest.approx(1, abs=4 * deviation / (1 - rate))
    per_column = (values == 0).mean(axis=0)
    assert per_column.std() == pytest.approx((rate * (1 - rate) / 500) ** 0.5, rel=0.2)  # columns are independent


def test_dropout_depends_on_seed_step_shard_and_layer_alone() -> None:
    base, _ = dropped(0.5, 20, 30)
    again, _ = dropped(0.5, 20, 30)
    np.testing.assert_array_equal(base, again)
    for draw, number in (
        ((4, 5, 1), 0),
        ((3, 6, 1), 0),
        ((3, 5, 2), 0),
        (DRAW, 1),
    ):
        other, _ = dropped(0.5, 20, 30, draw, number)
        assert 0.3 < (other != base).mean() < 0.7


def test_dropout_leaves_its_input_as_it_was_and_passes_gradients_where_values_passed() -> None:
    layer, x = DropoutLayer(50, 0.4, 0), np.full((10, 50), 2.0)
    buffers = layer.buffers(10, FLOAT64)
    layer.draw(buffers, *DRAW)
    layer.forward(x, buffers)
    assert (x == 2).all()
    delta = np.full_like(x, 3.0)
    layer.drop(delta, buffers)
    np.testing.assert_allclose(delta, 1.5 * buffers.output, rtol=1e-15)
