"""Metrics against scikit-learn, cut into slices any way; and what is left out when it has no meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from shared.losses import TrainableLoss
from shared.metrics import area_under_curve, measure, summarize
from shared.spec import CrossEntropyLoss, HuberLoss, MseLoss

CROSS_ENTROPY = CrossEntropyLoss(type="cross_entropy")
MSE = MseLoss(type="mse")


def summary(
    outputs: np.ndarray, y: np.ndarray, loss: TrainableLoss, cuts: list[int], scale: list[float] | None = None
) -> dict[str, float]:
    parts = zip(np.split(outputs, cuts), np.split(y, cuts), strict=True)
    return summarize([measure(*part, loss) for part in parts], scale)


@pytest.mark.parametrize("cuts", [[], [100, 200], [1, 2, 2, 299]])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_regressions_metrics_are_scikit_learns(outputs: int, cuts: list[int]) -> None:
    random = np.random.default_rng(1)
    mean, scale = np.array([50.0, -3.0, 1e6])[:outputs], np.array([2.5, 0.01, 300.0])[:outputs]
    y = random.standard_normal((300, outputs))
    got = y + random.normal(0.1, 0.5, y.shape)
    result = summary(got, y, MSE, cuts, scale.tolist())
    true, predicted = y * scale + mean, got * scale + mean
    assert result == pytest.approx(
        {
            "validation_loss": reference.mean_squared_error(y, got),
            "validation_rmse": reference.mean_squared_error(true, predicted) ** 0.5,
            "validation_mae": reference.mean_absolute_error(true, predicted),
            "validation_r2": reference.r2_score(true, predicted),
        },
        rel=1e-11,
    )


@pytest.mark.parametrize("cuts", [[], [7, 7, 150]])
def test_many_classes_are_scikit_learns(cuts: list[int]) -> None:
    random = np.random.default_rng(2)
    logits, y = random.standard_normal((200, 5)), random.integers(0, 5, 200).astype(np.int32)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert summary(logits, y, CROSS_ENTROPY, cuts) == pytest.approx(
        {
            "validation_loss": reference.log_loss(y, p),
            "validation_accuracy": reference.accuracy_score(y, logits.argmax(axis=1)),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("cuts", [[], [1, 60, 60]])
def test_two_classes_are_scikit_learns(cuts: list[int]) -> None:
    random = np.random.default_rng(3)
    logits = random.standard_normal((200, 1)).round(1)  # many ties
    y = (logits[:, 0] + random.standard_normal(200) > 0.3).astype(np.int32)
    p = 1 / (1 + np.exp(-logits[:, 0]))
    assert summary(logits, y, CROSS_ENTROPY, cuts) == pytest.approx(
        {
            "validation_loss": reference.log_loss(y, p),
            "validation_accuracy": reference.accuracy_score(y, p > 0.5),
            "validation_auc": reference.roc_auc_score(y, p),
        },
        rel=1e-12,
    )


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2).filter(
        lambda rows: len({b for _, b in rows}) == 2
    )
)
def test_the_area_under_the_curve_counts_pairs_and_ties_half(rows: list[tuple[int, bool]]) -> None:
    positive, negative = ([score for score, label in rows if label is side] for side in (True, False))
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    scores, labels = np.array([score for score, _ in rows], float), np.array([label for _, label in rows], np.uint8)
    assert area_under_curve(scores, labels) == wins / (len(positive) * len(negative))
    assert area_under_curve(scores, labels) == pytest.approx(reference.roc_auc_score(labels, scores))


def test_the_auc_of_saturated_logits_still_tells_them_apart() -> None:
    logits, y = np.array([[50.0], [60.0]], np.float32), np.array([0, 1], np.int32)  # both σ(z) are 1 in float32
    assert summary(logits, y, CROSS_ENTROPY, [])["validation_auc"] == 1


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_auc(label: int) -> None:
    result = summary(np.array([[1.0], [2.0]]), np.full(2, label, np.int32), CROSS_ENTROPY, [1])
    assert result.keys() == {"validation_loss", "validation_accuracy"}
    assert result["validation_accuracy"] == label


@pytest.mark.parametrize("cuts", [[], [2], [1, 2, 3]])
def test_a_constant_target_has_no_r2(cuts: list[int]) -> None:
    result = summary(np.arange(4.0).reshape(4, 1), np.full((4, 1), 0.1), MSE, cuts)
    assert result.keys() == {"validation_loss", "validation_rmse", "validation_mae"}


def test_r2_survives_a_target_far_from_zero() -> None:
    random = np.random.default_rng(4)
    y = 1.7e9 + random.standard_normal((500, 1))
    got = y + random.normal(0, 0.5, y.shape)
    assert summary(got, y, MSE, [123, 400])["validation_r2"] == pytest.approx(reference.r2_score(y, got), rel=1e-7)


def test_the_validation_loss_is_the_optimized_loss() -> None:
    y, got = np.zeros((2, 1)), np.array([[0.5], [3.0]])
    result = summary(got, y, HuberLoss(type="huber", delta=1.0), [], [10.0])
    assert result["validation_loss"] == pytest.approx((0.125 + 2.5) / 2)
    assert result["validation_mae"] == pytest.approx(17.5)


def test_measuring_leaves_its_input_alone_and_takes_what_may_not_be_written() -> None:
    outputs, y = np.array([[0.3, -0.2]], np.float32), np.array([[1.0, 2.0]], np.float32)
    before = outputs.copy(), y.copy()
    for array in (outputs, y):
        array.flags.writeable = False
    measure(outputs, y, MSE)
    np.testing.assert_array_equal(outputs, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_no_rows_cannot_be_summarized() -> None:
    for measures in ([], [measure(np.empty((0, 1)), np.empty((0, 1)), MSE)]):
        with pytest.raises(ValueError, match="no rows"):
            summarize(measures)


def test_scales_that_do_not_fit_the_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 target scales, expected 1"):
        summary(np.zeros((1, 1)), np.zeros((1, 1)), MSE, [], [1.0, 2.0])
