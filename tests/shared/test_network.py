"""Whole networks: gradients against central differences, the lecture's numbers, and the same bits always."""

import json
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from shared.errors import InvalidInput
from shared.losses import TrainableLoss
from shared.network import Network, Pass, Slot
from shared.spec import (
    ACTIVATIONS,
    Activation,
    CrossEntropyLoss,
    Dense,
    Dropout,
    HuberLoss,
    InitialParameters,
    Layer,
    MaeLoss,
    MseLoss,
)
from support.differences import derivative

CROSS_ENTROPY = CrossEntropyLoss(type="cross_entropy")
MSE = MseLoss(type="mse")
LECTURE = {
    example["name"]: example
    for example in json.loads((Path(__file__).parents[2] / "examples" / "lecture.json").read_text())["examples"]
}


def dense(units: int, activation: Activation = "tanh") -> Dense:
    return Dense(type="dense", units=units, activation=activation)


def dropout(rate: float) -> Dropout:
    return Dropout(type="dropout", rate=rate)


def some_data(network: Network, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, x and y, all random."""
    random = np.random.default_rng(11)
    parameters = random.normal(0, 0.5, network.size).astype(network.dtype)
    x = random.standard_normal((rows, network.inputs)).astype(network.dtype)
    if isinstance(network.loss, CrossEntropyLoss):
        return parameters, x, random.integers(0, max(network.outputs, 2), rows).astype(np.int32)
    return parameters, x, random.standard_normal((rows, network.outputs)).astype(network.dtype)


def gradient_of(
    network: Network, parameters: np.ndarray, x: np.ndarray, y: np.ndarray, rows: int | None = None
) -> tuple[float, np.ndarray]:
    out = np.full(network.size, np.nan, network.dtype)
    bound = network.bind(parameters, network.workspace(rows or len(x), training=True), len(x), out)
    return run(bound, x, y), out


def run(bound: Pass, x: np.ndarray, y: np.ndarray, step: int = 2) -> float:
    np.copyto(bound.x, x, casting="no")
    np.copyto(bound.y, y, casting="no")
    return bound.run(seed=1, step=step, shard=3)


def check_gradient(network: Network, rows: int = 6) -> None:
    """With the keys fixed, dropout's masks are fixed too, and the loss is a smooth function of the parameters."""
    parameters, x, y = some_data(network, rows)
    _, got = gradient_of(network, parameters, x, y)
    expected = derivative(lambda: gradient_of(network, parameters, x, y)[0], parameters)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=2e-8)


# ---------------------------------------------------------------- gradients
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_through_each_activation_equals_central_differences(activation: Activation) -> None:
    check_gradient(Network([dense(5, activation), dense(4, activation)], 3, 3, CROSS_ENTROPY, "float64"))


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("loss", [CROSS_ENTROPY, MSE, MaeLoss(type="mae"), HuberLoss(type="huber", delta=0.5)])
def test_the_gradient_of_each_loss_equals_central_differences(loss: TrainableLoss, outputs: int) -> None:
    check_gradient(Network([dense(4, "gelu")], 3, outputs, loss, "float64"))


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [dropout(0.3)],
        [dropout(0.3), dropout(0.2), dense(5), dropout(0.5)],
        [dense(5, "relu"), dropout(0.4), dense(4, "silu"), dropout(0.1), dropout(0.2), dense(3, "sigmoid")],
        [dense(1), dense(7, "softplus"), dropout(0.0), dense(1, "elu")],
    ],
    ids=["linear", "input dropout", "dropout everywhere", "deep", "narrow"],
)
def test_the_gradient_of_whole_networks_equals_central_differences(layers: list[Layer]) -> None:
    for outputs, loss in ((1, CROSS_ENTROPY), (2, MSE)):
        check_gradient(Network(layers, 4, outputs, loss, "float64"), rows=5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_agrees_with_float64(activation: Activation) -> None:
    layers = [dense(33, activation), dropout(0.3), dense(17, activation)]
    precise, single = (Network(layers, 9, 5, CROSS_ENTROPY, dtype) for dtype in ("float64", "float32"))
    parameters, x, y = some_data(single, 50)
    expected_loss, expected = gradient_of(precise, parameters.astype(np.float64), x.astype(np.float64), y)
    loss, gradient = gradient_of(single, parameters, x, y)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_a_sum_over_rows() -> None:
    network = Network([dense(6, "gelu")], 3, 4, CROSS_ENTROPY, "float64")
    parameters, x, y = some_data(network, 9)
    loss, gradient = gradient_of(network, parameters, x, y)
    parts = [gradient_of(network, parameters, x[part], y[part]) for part in (slice(0, 4), slice(4, 9))]
    assert loss == pytest.approx(sum(part[0] for part in parts), rel=1e-14)
    np.testing.assert_allclose(gradient, parts[0][1] + parts[1][1], rtol=1e-12, atol=1e-13)


# ---------------------------------------------------------------- the lecture
def numbers(value: Any) -> Any:
    """The lecture's numbers as floats; some are fractions, as text."""
    return [numbers(item) for item in value] if isinstance(value, list) else float(Fraction(value))


def flat(tensors: dict[str, Any]) -> np.ndarray:
    """Weights and biases, layer after layer, as one vector."""
    pairs = zip(tensors["weights"], tensors["biases"], strict=True)
    return np.concatenate([np.ravel(numbers(array)) for pair in pairs for array in pair])


@pytest.mark.parametrize("name", ["example-1-one-sample", "example-2-batch-of-three", "example-3-hidden-layer"])
def test_the_lectures_predictions_losses_and_gradients_come_out(name: str) -> None:
    example = LECTURE[name]
    x, y = np.array(numbers(example["x"])), np.array(numbers(example["y"]))
    layers = TypeAdapter(list[Layer]).validate_python(example["layers"])
    network = Network(layers, x.shape[1], y.shape[1], MSE, "float64")
    given = example["initial_parameters"]
    parameters = network.initial_parameters(
        0, InitialParameters(weights=numbers(given["weights"]), biases=numbers(given["biases"]))
    )
    np.testing.assert_array_equal(parameters, flat(given))
    prediction = network.forward(parameters, x, network.workspace(len(x), training=False))
    np.testing.assert_allclose(prediction, example["prediction"], rtol=0, atol=1e-12)
    loss, gradient = gradient_of(network, parameters, x, y)
    assert loss / len(x) == pytest.approx(example["loss_before"], abs=1e-12)
    np.testing.assert_allclose(gradient / len(x), flat(example["gradient"]), rtol=0, atol=1e-12)
    if "after_one_step" in example:
        after = parameters - example["optimizer"]["learning_rate"] * gradient / len(x)
        np.testing.assert_allclose(after, flat(example["after_one_step"]), rtol=0, atol=1e-12)


# ---------------------------------------------------------------- bits
LAYERS = [dropout(0.1), dense(37, "relu"), dropout(0.3), dense(19, "gelu"), dense(1, "tanh")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 10])
def test_the_same_input_gives_the_same_bits_whatever_the_workspace_held(dtype: str, outputs: int) -> None:
    network = Network(LAYERS, 23, outputs, CROSS_ENTROPY, dtype)
    parameters, x, y = some_data(network, 40)
    loss, gradient = gradient_of(network, parameters, x[:13], y[:13])
    workspace = network.workspace(40, training=True)
    out = np.full(network.size, np.nan, network.dtype)
    bound, spoiling = (
        network.bind(vector, workspace, rows, out) for vector, rows in ((parameters, 13), (parameters * np.nan, 40))
    )
    for _ in range(2):
        run(spoiling, x, y)  # leaves NaN everywhere
        assert run(bound, x[:13], y[:13]) == loss
        np.testing.assert_array_equal(out, gradient)
    evaluation = network.workspace(40, training=False)
    network.forward(np.full_like(parameters, np.nan), x, evaluation)
    np.testing.assert_array_equal(
        network.forward(parameters, x[:13], evaluation),
        network.forward(parameters, x[:13], network.workspace(13, training=False)),
    )


def shifted(array: np.ndarray, elements: int) -> np.ndarray:
    """The same numbers, that many elements further from the start of a cache line."""
    memory = np.zeros(array.size + 64, array.dtype)
    start = -memory.ctypes.data % 64 // array.itemsize + elements
    copy = memory[start : start + array.size].reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 10])
def test_the_bits_do_not_depend_on_where_the_memory_lies(dtype: str, outputs: int) -> None:
    network = Network([dense(65, "relu"), dense(1, "tanh"), dense(30, "relu")], 77, outputs, CROSS_ENTROPY, dtype)
    parameters, x, y = some_data(network, 33)
    workspace = network.workspace(33, training=True)
    out = shifted(np.empty_like(parameters), 0)
    loss = run(network.bind(shifted(parameters, 0), workspace, 33, out), x, y)
    for elements in (1, 2, 3, 5, 7):
        other = shifted(np.empty_like(parameters), elements)
        workspace = network.workspace(33, training=True)
        workspace.x, workspace.y = shifted(workspace.x, 8 - elements), shifted(workspace.y, elements)
        assert run(network.bind(shifted(parameters, elements), workspace, 33, other), x, y) == loss
        np.testing.assert_array_equal(other, out)


def test_read_only_parameters_give_the_same_predictions() -> None:
    network = Network(LAYERS, 5, 3, CROSS_ENTROPY)
    parameters, x, _ = some_data(network, 8)
    expected = network.forward(parameters, x, network.workspace(8, training=False)).copy()
    parameters.flags.writeable = x.flags.writeable = False
    np.testing.assert_array_equal(network.forward(parameters, x, network.workspace(8, training=False)), expected)


def test_a_pass_allocates_nothing_to_speak_of() -> None:
    network = Network([dense(256, "relu"), dropout(0.2), dense(128, "gelu")], 300, 10, CROSS_ENTROPY)
    parameters, x, y = some_data(network, 200)
    bound = network.bind(parameters, network.workspace(200, training=True), 200, np.empty(network.size, np.float32))
    run(bound, x, y)
    tracemalloc.start()
    try:
        run(bound, x, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000  # bytes; one row of the first hidden layer for all rows would be 204,800


def test_dropout_changes_with_the_step_and_never_touches_predictions() -> None:
    network = Network([dense(20), dropout(0.5)], 3, 2, MSE, "float64")
    parameters, x, y = some_data(network, 10)
    bound = network.bind(parameters, network.workspace(10, training=True), 10, np.empty(network.size))
    assert len({run(bound, x, y, step) for step in range(5)}) == 5
    plain = Network([dense(20)], 3, 2, MSE, "float64")
    np.testing.assert_array_equal(
        network.forward(parameters, x, network.workspace(10, training=False)),
        plain.forward(parameters, x, plain.workspace(10, training=False)),
    )


# ---------------------------------------------------------------- parameters
def test_parameters_lie_layer_after_layer_weights_then_bias() -> None:
    network = Network([dense(4), dropout(0.5), dense(2)], 3, 5, CROSS_ENTROPY)
    assert network.slots == (
        Slot(slice(0, 12), slice(12, 16), 3, 4),
        Slot(slice(16, 24), slice(24, 26), 4, 2),
        Slot(slice(26, 36), slice(36, 41), 2, 5),
    )
    assert network.size == 41
    assert network.penalized.dtype == np.uint8
    assert network.penalized.tolist() == [1] * 12 + [0] * 4 + [1] * 8 + [0] * 2 + [1] * 10 + [0] * 5


def test_random_parameters_depend_on_the_seed_and_biases_are_zero() -> None:
    network = Network([dense(4), dense(4)], 4, 4, CROSS_ENTROPY)
    first = network.initial_parameters(1)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, network.initial_parameters(1))
    assert not first[network.penalized == 0].any()
    layers = [first[slot.weights].tolist() for slot in network.slots]
    other = network.initial_parameters(2)
    assert len({tuple(weights) for weights in [*layers, other[network.slots[0].weights].tolist()]}) == 4


def test_dropout_does_not_change_the_initial_weights() -> None:
    with_dropout = Network([dropout(0.1), dense(4), dropout(0.5)], 3, 2, MSE)
    without = Network([dense(4)], 3, 2, MSE)
    np.testing.assert_array_equal(with_dropout.initial_parameters(7), without.initial_parameters(7))


@pytest.mark.parametrize(
    ("weights", "biases", "field", "expected"),
    [
        ([[[1.0], [1.0]]], [[0.0, 0.0], [0.0]], "initial_parameters.weights", "2, one for each dense layer"),
        ([[[1.0, 2.0], [1.0, 2.0]], [[1.0], [2.0]]], [[0.0, 0.0]], "initial_parameters.biases", "2, one for each"),
        ([[[1.0, 2.0]], [[1.0], [2.0]]], [[0.0, 0.0], [0.0]], "initial_parameters.weights[0]", "2 rows"),
        ([[[1.0, 2.0], [1.0]], [[1.0], [2.0]]], [[0.0, 0.0], [0.0]], "initial_parameters.weights[0][1]", "2 numbers"),
        ([[[1.0, 2.0], [1.0, 2.0]], [[1.0], [2.0]]], [[0.0, 0.0], []], "initial_parameters.biases[1]", "1 numbers"),
        ([[[1.0, 2.0], [1.0, 1e39]], [[1.0], [2.0]]], [[0.0, 0.0], [0.0]], "initial_parameters.weights[0][1]", "flo"),
    ],
)
def test_given_parameters_of_another_shape_are_refused_with_their_place(
    weights: list[list[list[float]]], biases: list[list[float]], field: str, expected: str
) -> None:
    network = Network([dense(2)], 2, 1, MSE)
    with pytest.raises(InvalidInput) as caught:
        network.initial_parameters(0, InitialParameters(weights=weights, biases=biases))
    (error,) = caught.value.errors
    assert error.field == field
    assert expected in error.expected


# ---------------------------------------------------------------- misuse
def test_arrays_that_do_not_fit_are_refused() -> None:
    network = Network([dense(2)], 3, 2, CROSS_ENTROPY)
    parameters, x, y = some_data(network, 4)
    workspace, out = network.workspace(4, training=True), np.empty(network.size, np.float32)
    evaluation = network.workspace(4, training=False)
    for bound, complaint in [
        ((parameters[1:], workspace, 4, out), "got parameters"),
        ((parameters.astype(np.float64), workspace, 4, out), "got parameters"),
        ((parameters, workspace, 8, out), "got 8 rows"),
        ((parameters, evaluation, 4, out), "workspace for evaluation"),
        ((parameters, workspace, 4, out[1:]), "for the gradient"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            network.bind(*bound)
    for arguments, complaint in [
        ((parameters[1:], x, evaluation), "got parameters"),
        ((parameters, x.astype(np.float64), evaluation), "got x"),
        ((parameters, x[:, 1:], evaluation), "got x"),
        ((parameters, np.vstack([x, x]), evaluation), "got 8 rows"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            network.forward(*arguments)
    with pytest.raises(ValueError, match="class code"):
        run(network.bind(parameters, workspace, 4, out), x, y + 2)
    for wrong in ({"inputs": 0}, {"outputs": 0}, {"dtype": "float16"}):
        with pytest.raises(ValueError, match="expected"):
            Network(**{"layers": [], "inputs": 1, "outputs": 1, "loss": MSE, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 rows"):
        network.workspace(0, training=True)
