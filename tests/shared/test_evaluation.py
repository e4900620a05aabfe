"""Confusion, ROC, precision and recall: compared with scikit-learn."""

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from shared.evaluation import against_the_rest, confusion, histogram, precision_recall, roc, spread

RANDOM = np.random.default_rng(7)
LABELS = (RANDOM.random(500) < 0.3).astype(np.int32)
SCORES = np.round(RANDOM.normal(LABELS * 1.0, 1.0), 1)  # rounded, so that there are ties


def test_a_confusion_matrix_has_a_line_for_each_class_as_it_is() -> None:
    truth = RANDOM.integers(0, 4, 300).astype(np.int32)
    predicted = RANDOM.integers(0, 4, 300)
    np.testing.assert_array_equal(confusion(truth, predicted, 4), metrics.confusion_matrix(truth, predicted))


def test_a_class_that_does_not_occur_has_a_line_of_zeros() -> None:
    assert confusion(np.array([0, 2], np.int32), np.array([2, 2]), 3).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_the_roc_curve_is_that_of_scikit_learn() -> None:
    x, y, threshold = metrics.roc_curve(LABELS, SCORES, drop_intermediate=False)
    curve = roc(SCORES, LABELS)
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)
    np.testing.assert_array_equal(curve.threshold, threshold)
    assert curve.area == pytest.approx(metrics.roc_auc_score(LABELS, SCORES), rel=1e-12)


def test_precision_and_recall_are_those_of_scikit_learn() -> None:
    precision, recall, _ = metrics.precision_recall_curve(LABELS, SCORES)
    curve = precision_recall(SCORES, LABELS)
    np.testing.assert_allclose(curve.x, recall[::-1])
    np.testing.assert_allclose(curve.y, precision[::-1])
    assert curve.area == pytest.approx(metrics.average_precision_score(LABELS, SCORES), rel=1e-12)


def test_a_long_curve_keeps_its_ends_and_the_area_of_all_its_points() -> None:
    scores = RANDOM.normal(size=5_000)
    labels = (scores + RANDOM.normal(size=5_000) > 0).astype(np.int32)
    curve = roc(scores, labels)
    assert len(curve.x) == 200
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert curve.area == pytest.approx(metrics.roc_auc_score(labels, scores), rel=1e-12)


def test_a_class_ranks_rows_against_the_rest_as_its_probability_does() -> None:
    logits = (
        RANDOM.normal(size=(500, 4)) + RANDOM.normal(size=(500, 1)) * 5
    )  # what all logits of a row share says nothing
    truth = (logits + RANDOM.gumbel(size=(500, 4))).argmax(axis=1)
    scores, probabilities = against_the_rest(logits), softmax(logits, axis=1)
    np.testing.assert_allclose(scores, np.log(probabilities / (1 - probabilities)), atol=1e-9)
    areas = [roc(scores[:, each], (truth == each).astype(np.int32)).area for each in range(4)]
    np.testing.assert_allclose(areas, metrics.roc_auc_score(truth, probabilities, multi_class="ovr", average=None))


def test_scores_against_the_rest_are_finite_where_probabilities_are_0_and_1() -> None:
    assert against_the_rest(np.array([[900.0, 0.0, 0.0]]))[0] == pytest.approx([900 - math.log(2), -900, -900])


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([0.3, 0.30000000000000004], 1),
        ([-1e308, 0.0, 1e308], 40),
        ([-np.finfo(float).max, np.finfo(float).max], 40),
        ([1e17] * 3, 1),
        ([-np.finfo(float).max], 1),
        ([np.finfo(float).max], 1),
        ([0.0, 5e-324], 1),
    ],
)
def test_a_histogram_of_any_finite_values_has_finite_edges_that_grow(values: list[float], bars: int) -> None:
    edges, counts = histogram(np.array(values), 40)
    assert (len(counts), counts.sum()) == (bars, len(values))
    assert np.isfinite(edges).all()
    assert (edges[1:] > edges[:-1]).all()
    assert edges[0] <= min(values) <= max(values) <= edges[-1]


def test_a_histogram_counts_every_value() -> None:
    edges, counts = histogram(np.array([3.0, 3.0, 3.0]), 4)
    assert (edges[0], edges[-1], counts.sum()) == (2.5, 3.5, 3)


@pytest.mark.parametrize(("length", "most", "positions"), [(3, 5, [0, 1, 2]), (101, 3, [0, 50, 100]), (1, 9, [0])])
def test_positions_are_evenly_spread_from_the_first_to_the_last(length: int, most: int, positions: list[int]) -> None:
    assert spread(length, most).tolist() == positions
