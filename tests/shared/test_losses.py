"""Losses and their gradients: against central differences, hand-worked numbers, and where floating point is hard."""

import math

import numpy as np
import pytest

from shared.losses import TrainableLoss, loss_and_gradient, probabilities
from shared.spec import CrossEntropyLoss, HuberLoss, MaeLoss, MseLoss
from support.differences import derivative

CROSS_ENTROPY = CrossEntropyLoss(type="cross_entropy")
MSE = MseLoss(type="mse")
MAE = MaeLoss(type="mae")
HUBER = HuberLoss(type="huber", delta=0.7)


def evaluate(loss: TrainableLoss, outputs: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    gradient = np.full_like(outputs, np.nan)
    return loss_and_gradient(loss, outputs, y, gradient, np.full(outputs.shape[1], np.nan)), gradient


@pytest.mark.parametrize("loss", [MSE, MAE, HUBER], ids=lambda loss: str(loss.type))
@pytest.mark.parametrize("columns", [1, 3])
def test_a_regression_gradient_equals_central_differences(loss: TrainableLoss, columns: int) -> None:
    random = np.random.default_rng(1)
    outputs, y = random.standard_normal((7, columns)), random.standard_normal((7, columns))
    _, gradient = evaluate(loss, outputs, y)
    expected = derivative(lambda: evaluate(loss, outputs, y)[0], outputs)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("columns", "classes"), [(1, 2), (3, 3), (11, 11)])
def test_a_cross_entropy_gradient_equals_central_differences(columns: int, classes: int) -> None:
    random = np.random.default_rng(2)
    outputs = 3 * random.standard_normal((8, columns))
    labels = random.integers(0, classes, 8).astype(np.int32)
    _, gradient = evaluate(CROSS_ENTROPY, outputs, labels)
    expected = derivative(lambda: evaluate(CROSS_ENTROPY, outputs, labels)[0], outputs)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


def test_the_losses_by_hand() -> None:
    outputs, y = np.array([[1.0, 2.0], [0.0, 5.0]]), np.array([[1.5, 0.0], [0.0, 4.5]])  # errors -0.5, 2; 0, 0.5
    loss, gradient = evaluate(MSE, outputs, y)
    assert loss == pytest.approx((0.25 + 4) / 2 + 0.25 / 2, rel=1e-15)
    np.testing.assert_allclose(gradient, [[-0.5, 2.0], [0.0, 0.5]])
    loss, gradient = evaluate(MAE, outputs, y)
    assert loss == pytest.approx((0.5 + 2) / 2 + 0.5 / 2, rel=1e-15)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5], [0.0, 0.5]])
    loss, gradient = evaluate(HUBER, outputs, y)
    assert loss == pytest.approx((0.125 + 0.7 * (2 - 0.35)) / 2 + 0.125 / 2, rel=1e-15)
    np.testing.assert_allclose(gradient, [[-0.25, 0.35], [0.0, 0.25]])


def test_cross_entropy_is_minus_the_log_of_the_probability_of_the_class() -> None:
    random = np.random.default_rng(3)
    for classes in (2, 4):
        outputs = random.standard_normal((20, 1 if classes == 2 else classes))
        labels = random.integers(0, classes, 20).astype(np.int32)
        of_the_class = probabilities(outputs, classes)[np.arange(20), labels]
        assert evaluate(CROSS_ENTROPY, outputs, labels)[0] == pytest.approx(-np.log(of_the_class).sum(), rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_neither_overflow_nor_lose_the_loss(dtype: type) -> None:
    z = np.array([[1e4], [-1e4], [1e4], [-1e4]], dtype)
    loss, gradient = evaluate(CROSS_ENTROPY, z, np.array([1, 0, 0, 1], np.int32))
    assert loss == 2e4
    np.testing.assert_allclose(gradient[:, 0], [0, 0, 1, -1], atol=1e-300)
    z = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4]], dtype)
    loss, gradient = evaluate(CROSS_ENTROPY, z, np.array([0, 2], np.int32))
    assert loss == 2e4
    np.testing.assert_allclose(gradient, [[0, 0, 0], [1, 0, -1]], atol=1e-300)


def test_a_confident_and_right_logit_still_has_a_loss_and_a_gradient() -> None:
    loss, gradient = evaluate(CROSS_ENTROPY, np.array([[50.0]]), np.array([1], np.int32))
    assert loss == pytest.approx(math.exp(-50), rel=1e-12)
    assert gradient[0, 0] == pytest.approx(-math.exp(-50), rel=1e-12)


@pytest.mark.parametrize("loss", [MSE, MAE, HUBER, CROSS_ENTROPY], ids=lambda loss: str(loss.type))
def test_an_output_that_is_not_a_number_shows_in_the_loss(loss: TrainableLoss) -> None:
    for columns in (1, 3):
        outputs = np.ones((4, columns))
        outputs[2, columns // 2] = np.nan
        y = np.zeros(4, np.int32) if loss is CROSS_ENTROPY else np.zeros((4, columns))
        assert math.isnan(evaluate(loss, outputs, y)[0])


def test_a_perfect_prediction_costs_nothing() -> None:
    y = np.random.default_rng(4).standard_normal((5, 2))
    for loss in (MSE, MAE, HUBER):
        total, gradient = evaluate(loss, y.copy(), y)
        assert total == 0
        assert not gradient.any()


@pytest.mark.parametrize(("columns", "code"), [(1, 2), (1, -1), (3, 3), (3, -1)])
def test_a_class_code_without_an_output_is_refused(columns: int, code: int) -> None:
    with pytest.raises(ValueError, match="class code"):
        evaluate(CROSS_ENTROPY, np.zeros((2, columns)), np.array([0, code], np.int32))


def test_probabilities_add_up_to_one_and_do_not_overflow() -> None:
    wild = np.array([[1000.0, -1000.0, 0.0], [0.0, 0.0, 0.0], [-1000.0, -1000.0, -1000.0]])
    np.testing.assert_allclose(probabilities(wild, 3).sum(axis=1), 1, rtol=1e-15)
    assert probabilities(wild, 3)[0].tolist() == [1.0, 0.0, 0.0]
    np.testing.assert_allclose(probabilities(np.array([[-1000.0], [0.0], [1000.0]]), 2), [[1, 0], [0.5, 0.5], [0, 1]])
    p = probabilities(np.array([[2.0]], np.float32), 2)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p, [[1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))]], rtol=1e-15)


def test_probabilities_of_the_wrong_number_of_outputs_are_refused() -> None:
    for outputs, classes in ((2, 2), (1, 3), (3, 4)):
        with pytest.raises(ValueError, match="classes"):
            probabilities(np.zeros((1, outputs)), classes)
