"""What people judge a network by, beyond its metrics: confusion, ROC, precision and recall, residuals."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.metrics import area_under_curve

__all__ = ["CURVE_POINTS", "Curve", "against_the_rest", "confusion", "histogram", "precision_recall", "roc", "spread"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

CURVE_POINTS = 200


class Curve(NamedTuple):
    """A curve over the thresholds of a score, from the strictest on, and the area below it."""

    x: Vector
    y: Vector
    threshold: Vector
    """The least score that counts as class 1; infinite at the first point, where none does."""
    area: float


def confusion(truth: npt.NDArray[np.int32], predicted: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """classes × classes: how many rows of the class of the line were predicted as the class of the column."""
    cells = np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return np.asarray(cells.reshape(classes, classes))


def roc(scores: Vector, labels: npt.NDArray[np.integer], most: int = CURVE_POINTS) -> Curve:
    """The true positive rate over the false positive rate; both classes, 0 and 1, occur among the labels."""
    threshold, positive, negative = _cumulated(scores, labels)
    points = spread(len(threshold), most)
    x, y = negative / negative[-1], positive / positive[-1]
    return Curve(x[points], y[points], threshold[points], area_under_curve(scores, labels))


def precision_recall(scores: Vector, labels: npt.NDArray[np.integer], most: int = CURVE_POINTS) -> Curve:
    """The precision over the recall; the area is the average precision, Σ (rₙ - rₙ₋₁) pₙ.

    At a recall of 0, where nothing counts as class 1, the precision is 1.
    """
    threshold, positive, negative = _cumulated(scores, labels)
    recall = positive / positive[-1]
    precision = np.divide(positive, positive + negative, out=np.ones(len(positive)), where=positive + negative > 0)
    area = float(np.sum(np.diff(recall) * precision[1:]))
    points = spread(len(threshold), most)
    return Curve(recall[points], precision[points], threshold[points], area)


def against_the_rest(logits: Matrix) -> Matrix:
    """rows × classes: the log-odds of each class against all others, log p/(1-p) of the softmax, to rank rows by.

    Its logit alone cannot rank them: what a row adds to all of its logits does not change its probabilities.
    """
    classes = logits.shape[1]
    others = [np.logaddexp.reduce(np.delete(logits, one, axis=1), axis=1) for one in range(classes)]
    return np.asarray(logits - np.stack(others, axis=1))


def _cumulated(scores: Vector, labels: npt.NDArray[np.integer]) -> tuple[Vector, Vector, Vector]:
    """At each threshold, from the highest score down, how many rows of class 1 and of class 0 reach it."""
    values, place = np.unique(-scores, return_inverse=True)
    counts = [np.bincount(place, weights=labels == label, minlength=len(values)) for label in (1, 0)]
    positive, negative = (np.concatenate([[0.0], np.cumsum(count)]) for count in counts)
    return np.concatenate([[np.inf], -values]), positive, negative


def histogram(values: Vector, bins: int | Vector) -> tuple[Vector, npt.NDArray[np.int64]]:
    """Edges and counts of so many bins over the whole range, or between the edges given; all values are finite.

    A single value gets a range of 1 around it. There is one bin where floats are too far apart there for as many.
    """
    if not isinstance(bins, int):
        counts, edges = np.histogram(values, bins)
        return edges, counts
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        edges, counts = histogram(values / 2, bins)  # a power of 2, so that nothing is rounded
        return edges * 2, counts
    if low == high:
        low, high = low - 0.5, high + 0.5
    if (np.diff(np.linspace(low, high, bins + 1)) > 0).all():
        counts, edges = np.histogram(values, bins)
        return edges, counts
    edges = np.array([low, high if low < high else np.nextafter(low, 0)])  # towards 0 there is always one more float
    return np.sort(edges), np.array([len(values)])


def spread(length: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many positions below `length`, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))
