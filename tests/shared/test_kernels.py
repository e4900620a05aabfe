"""The kernels against the C library, central differences and numpy: the nine activations from -1000 to 1000 first."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from shared import kernels, sharding
from shared.spec import ACTIVATIONS, Activation

REFERENCE: dict[Activation, Callable[[float], float]] = {
    "identity": lambda t: t,
    "relu": lambda t: max(t, 0.0),
    "leaky_relu": lambda t: t if t > 0 else 0.01 * t,
    "elu": lambda t: t if t > 0 else math.expm1(t),
    "gelu": lambda t: t * 0.5 * math.erfc(-t / math.sqrt(2)),
    "sigmoid": lambda t: 1 / (1 + math.exp(-t)) if t > -700 else math.exp(t),
    "tanh": math.tanh,
    "softplus": lambda t: max(t, 0.0) + math.log1p(math.exp(-abs(t))),
    "silu": lambda t: t / (1 + math.exp(-t)) if t > -700 else t * math.exp(t),
}
SMALL = 10.0 ** np.arange(-12, 0)
POINTS = np.concatenate(
    [np.linspace(-6, 6, 1201), np.linspace(-40, 40, 400), SMALL, -SMALL, [-1000.0, -709.5, 0.0, 709.5, 1000.0]]
)


def activated(name: Activation, points: np.ndarray) -> np.ndarray:
    """f(t), with half of t coming from the bias."""
    z = 0.5 * points.reshape(1, -1)
    kernels.activate(z, 0.5 * points, kernels.CODES[name])
    return z[0]


def slopes(name: Activation, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f'(t), as backpropagation multiplies by it, and the bias gradient of the one row."""
    z, bias = points.reshape(1, -1).copy(), np.zeros_like(points)
    saved = np.full_like(z, np.nan)
    if name in kernels.SAVES_DERIVATIVE:
        kernels.activate_and_save(z, bias, saved, kernels.CODES[name])
    else:
        kernels.activate(z, bias, kernels.CODES[name])
        saved = z
    delta, bias_gradient = np.ones_like(z), np.full_like(points, np.nan)
    kernels.backpropagate(delta, saved, bias_gradient, kernels.CODES[name])
    return delta[0], bias_gradient


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_equals_its_formula_to_the_last_bits(name: Activation) -> None:
    expected = np.array([REFERENCE[name](t) for t in POINTS])
    # gelu far to the left is a difference of nearly equal numbers: right to 1e-16 of t there, not of itself
    tolerance = 4e-15 if name == "gelu" else 1e-300
    np.testing.assert_allclose(activated(name, POINTS), expected, rtol=2e-15, atol=tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_in_float32_is_the_float64_value_rounded(name: Activation) -> None:
    points = np.linspace(-20, 20, 999, dtype=np.float32)
    z = points.reshape(1, -1).copy()
    kernels.activate(z, np.zeros_like(points), kernels.CODES[name])
    expected = activated(name, points.astype(np.float64))
    np.testing.assert_allclose(z[0], expected, rtol=1.2e-7, atol=1e-30)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_derivative_equals_central_differences(name: Activation) -> None:
    points = np.linspace(-8, 8, 400)  # 0, where relu and its like have a corner, is not among them
    h = 1e-5
    expected = (activated(name, points + h) - activated(name, points - h)) / (2 * h)
    slope, bias_gradient = slopes(name, points)
    np.testing.assert_allclose(slope, expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(slope if name != "identity" else np.ones_like(points), bias_gradient)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_derivative_far_out_is_finite_and_right(name: Activation) -> None:
    far = np.array([-1000.0, 1000.0])
    left = {"identity": 1.0, "leaky_relu": 0.01}.get(name, 0.0)
    right = 0.0 if name in ("sigmoid", "tanh") else 1.0
    np.testing.assert_allclose(slopes(name, far)[0], [left, right], atol=1e-300)


@pytest.mark.parametrize("name", sorted(kernels.SAVES_DERIVATIVE))
def test_saving_the_derivative_changes_no_bit_of_the_output(name: Activation) -> None:
    z, bias = POINTS.reshape(1, -1).copy(), np.zeros_like(POINTS)
    kernels.activate_and_save(z, bias, np.empty_like(z), kernels.CODES[name])
    plain = POINTS.reshape(1, -1).copy()
    kernels.activate(plain, bias, kernels.CODES[name])
    np.testing.assert_array_equal(z, plain)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_not_a_number_stays_not_a_number(name: Activation) -> None:
    assert np.isnan(activated(name, np.array([np.nan, 1.0, np.nan]))).tolist() == [True, False, True]


def test_the_bias_gradient_is_added_row_after_row() -> None:
    delta = np.array([[1e16, 1.0], [1.0, 2.0], [-1e16, 3.0]])
    bias_gradient = np.full(2, np.nan)
    kernels.backpropagate(delta, delta, bias_gradient, kernels.IDENTITY)
    assert bias_gradient.tolist() == [0.0, 6.0]  # (1e16 + 1) - 1e16 loses the 1; another order would keep it


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100_003])
def test_the_sum_of_squares_is_exact_to_float64(size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    assert kernels.sum_of_squares(values) == pytest.approx(math.fsum(float(v) ** 2 for v in values), rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_are_standardized_as_numpy_does_it(dtype: type[np.floating]) -> None:
    random = np.random.default_rng(2)
    x, chosen = random.integers(0, 256, (500, 33)).astype(np.uint8), random.integers(0, 500, 200)
    mean, scale = random.uniform(0, 255, 33), random.uniform(1, 80, 33)
    out = np.full((200, 33), np.nan, dtype)
    kernels.gather_standardized(x, chosen, mean, scale, out)
    np.testing.assert_array_equal(out, ((x[chosen].astype(np.float64) - mean) / scale).astype(dtype))


def test_the_codes_that_kernels_are_compiled_with_are_those_of_the_spec_and_the_tree() -> None:
    """They stand in the kernels' own file, since numba's cache on disk notices changes of that file only."""
    assert set(kernels.CODES) == set(ACTIVATIONS)
    assert sorted(kernels.CODES.values()) == list(range(len(ACTIVATIONS)))
    assert kernels.ADD == sharding.ADD
