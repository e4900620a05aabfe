"""How good a network is on rows that it was not trained on: measured slice by slice, summarized in slice order.

A slice's measure is plain data, so that it may be computed by any process; the summary adds the slices in the order in
which they are given, so it does not depend on who measured which.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any, NotRequired, TypedDict

import numpy as np

from shared.losses import TrainableLoss, loss_and_gradient
from shared.spec import CrossEntropyLoss

__all__ = ["SliceMeasure", "area_under_curve", "measure", "summarize"]


class SliceMeasure(TypedDict):
    """What one slice of rows adds to the metrics."""

    rows: int
    loss_sum: float  # of the optimized loss, over the rows
    correct: NotRequired[int]  # classification: rows whose most probable class is right
    scores: NotRequired[np.ndarray]  # two classes: float64 (rows,), the logits of class 1
    labels: NotRequired[np.ndarray]  # two classes: uint8 (rows,)
    squared_error: NotRequired[np.ndarray]  # regression, float64 (outputs,): Σ (output - y)²
    absolute_error: NotRequired[np.ndarray]  # Σ |output - y|
    mean: NotRequired[np.ndarray]  # mean of y
    squared_deviation: NotRequired[np.ndarray]  # Σ (y - mean)²


def measure(outputs: np.ndarray, y: np.ndarray, loss: TrainableLoss) -> SliceMeasure:
    """Measures one slice.

    Args:
        outputs: rows × outputs, a network's raw outputs.
        y: int32 (rows,) class codes for cross-entropy, else rows × outputs of the outputs' dtype.
        loss: the optimized loss.
    """
    outputs = np.ascontiguousarray(outputs)
    y = np.array(y, dtype=np.int32 if isinstance(loss, CrossEntropyLoss) else outputs.dtype, order="C")
    total = loss_and_gradient(loss, outputs, y, np.empty_like(outputs), np.empty(outputs.shape[1]))
    result: SliceMeasure = {"rows": len(outputs), "loss_sum": total}
    if isinstance(loss, CrossEntropyLoss):
        _classification(result, outputs, y)
    else:
        _regression(result, outputs.astype(np.float64), y.astype(np.float64))
    return result


def _classification(result: SliceMeasure, outputs: np.ndarray, y: np.ndarray) -> None:
    if outputs.shape[1] > 1:
        result["correct"] = int(np.count_nonzero(outputs.argmax(axis=1) == y))
        return
    scores = outputs[:, 0].astype(np.float64)
    result["correct"] = int(np.count_nonzero((scores > 0) == (y == 1)))
    result["scores"] = scores
    result["labels"] = y.astype(np.uint8)


def _regression(result: SliceMeasure, outputs: np.ndarray, y: np.ndarray) -> None:
    error = outputs - y
    result["squared_error"] = (error * error).sum(axis=0)
    result["absolute_error"] = np.abs(error).sum(axis=0)
    if len(y) == 0:
        result["mean"] = result["squared_deviation"] = np.zeros(y.shape[1])
        return
    shifted = y - y[0]  # so that a constant's deviation is exactly 0
    mean = shifted.mean(axis=0)
    result["mean"] = y[0] + mean
    result["squared_deviation"] = ((shifted - mean) ** 2).sum(axis=0)


def summarize(measures: Sequence[SliceMeasure], target_scale: Sequence[float] | None = None) -> dict[str, float]:
    """The metrics over all slices, by name.

    `validation_loss` always: the mean over the rows of the optimized loss. Classification: `validation_accuracy`, and
    for two classes `validation_auc`, absent when only one class occurs. Regression: `validation_rmse` and
    `validation_mae`, over rows and outputs, in the targets' own units, which one unit of an output is `target_scale` of
    (one number for each output; None means 1); `validation_r2`, the mean over the outputs, absent when one of the
    targets is constant.

    Raises ValueError when there are no rows.
    """
    rows = sum(part["rows"] for part in measures)
    if rows == 0:
        raise ValueError("got no rows to validate on, expected at least 1")
    parts = [part for part in measures if part["rows"]]
    result = {"validation_loss": float(_in_order([part["loss_sum"] for part in parts])) / rows}
    if "correct" in parts[0]:
        result["validation_accuracy"] = sum(part["correct"] for part in parts) / rows
        if "scores" in parts[0]:
            scores = np.concatenate([part["scores"] for part in parts])
            labels = np.concatenate([part["labels"] for part in parts])
            if 0 < np.count_nonzero(labels) < rows:
                result["validation_auc"] = area_under_curve(scores, labels)
    else:
        result.update(_summarize_regression(parts, rows, target_scale))
    return result


def _in_order(terms: Sequence[Any]) -> Any:
    """The plain sum from first to last (Python's `sum` compensates floats from 3.12 on, so its bits vary)."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _summarize_regression(
    parts: Sequence[SliceMeasure], rows: int, target_scale: Sequence[float] | None
) -> dict[str, float]:
    squared = _in_order([part["squared_error"] for part in parts])
    absolute = _in_order([part["absolute_error"] for part in parts])
    scale = np.ones(len(squared)) if target_scale is None else np.asarray(target_scale, dtype=np.float64)
    if scale.shape != squared.shape:
        raise ValueError(f"got {scale.size} target scales, expected {squared.size}, one for each output")
    result = {
        "validation_rmse": sqrt(float(np.mean(squared * scale**2)) / rows),
        "validation_mae": float(np.mean(absolute * scale)) / rows,
    }
    deviation = _squared_deviation(parts)
    if np.all(deviation > 0):
        result["validation_r2"] = float(np.mean(1 - squared / deviation))
    return result


def _squared_deviation(parts: Sequence[SliceMeasure]) -> np.ndarray:
    """Σ (y - mean)² over all rows, from the slices' own means (Chan, Golub & LeVeque, 1979)."""
    rows, mean, total = parts[0]["rows"], parts[0]["mean"], parts[0]["squared_deviation"]
    for part in parts[1:]:
        difference = part["mean"] - mean
        whole = rows + part["rows"]
        total = total + part["squared_deviation"] + difference**2 * (rows * part["rows"] / whole)
        mean = mean + difference * (part["rows"] / whole)
        rows = whole
    return total


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under the ROC curve: how often a row of class 1 scores above one of class 0, ties counted half.

    The Mann-Whitney statistic, computed in whole numbers. `labels` are 0 and 1, and both occur.
    """
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    positive = np.bincount(place, weights=labels, minlength=len(count)).astype(np.int64)
    negative = count - positive
    below = np.cumsum(negative) - negative
    pairs = int(positive.sum()) * int(negative.sum())
    return int((positive * (2 * below + negative)).sum()) / (2 * pairs)
