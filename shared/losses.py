"""The losses that are minimized: their sum over rows, their gradient by the raw outputs, and probabilities."""

import numpy as np

from shared import kernels
from shared.spec import CrossEntropyLoss, HuberLoss, MaeLoss, MseLoss

__all__ = ["TrainableLoss", "loss_and_gradient", "probabilities"]

TrainableLoss = CrossEntropyLoss | MseLoss | MaeLoss | HuberLoss


def loss_and_gradient(
    loss: TrainableLoss, outputs: np.ndarray, y: np.ndarray, gradient: np.ndarray, sums: np.ndarray
) -> float:
    """The loss summed over the rows, in float64; `gradient` becomes the derivative of that sum by `outputs`.

    Args:
        outputs: rows × outputs, the raw outputs (logits, for cross-entropy).
        y: for cross-entropy int32 (rows,), the class codes; one output means two classes, 0 and 1, by the sigmoid;
            several mean the softmax. Else rows × outputs of the outputs' dtype; a row's loss is the mean over its
            outputs, e = output - y, of e² (mse), |e| (mae), or e²/2 where |e| ≤ delta, else delta (|e| - delta/2)
            (huber).
        gradient: like `outputs`, overwritten.
        sums: float64 (outputs,), scratch.

    Raises ValueError for a class code that has no output.

    Cross-entropy is computed from logits by log-sum-exp and softplus, so that no finite logit overflows.
    """
    real = outputs.dtype.type
    match loss:
        case CrossEntropyLoss() if outputs.shape[1] == 1:
            return kernels.sigmoid_cross_entropy(outputs, y, gradient)
        case CrossEntropyLoss():
            return kernels.softmax_cross_entropy(outputs, y, gradient)
        case MseLoss():
            return kernels.regression_loss(outputs, y, gradient, sums, kernels.SQUARED, real(0))
        case MaeLoss():
            return kernels.regression_loss(outputs, y, gradient, sums, kernels.ABSOLUTE, real(0))
        case HuberLoss():
            return kernels.regression_loss(outputs, y, gradient, sums, kernels.HUBER, real(loss.delta))


def probabilities(raw_outputs: np.ndarray, classes: int) -> np.ndarray:
    """rows × classes float64: the softmax of the raw outputs; for two classes of one output z, (1 - σ(z), σ(z)).

    Raises ValueError when the outputs do not fit that many classes.
    """
    z = np.asarray(raw_outputs, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] != (1 if classes == 2 else classes):
        raise ValueError(f"got raw outputs of shape {z.shape} for {classes} classes")
    if classes == 2:
        z = np.hstack([np.zeros_like(z), z])  # σ(z) is the softmax of (0, z)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
