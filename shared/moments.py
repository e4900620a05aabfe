"""Mean and standard deviation of a stream of numbers, in one pass and without cancellation."""

import numpy as np
import numpy.typing as npt

__all__ = ["Moments"]


class Moments:
    """Count, mean and sum of squared deviations of each of `width` columns, fed a chunk of rows at a time.

    Chunks are joined by the pairwise rule of Chan, Golub & LeVeque (1979). The result's bits depend on the rows and on
    where they are cut into chunks, on nothing else.
    """

    def __init__(self, width: int = 1) -> None:
        self.count = np.zeros(width)
        self.mean = np.zeros(width)
        self._deviations = np.zeros(width)

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Takes in rows × width numbers; NaN is a missing one."""
        with np.errstate(over="ignore", invalid="ignore"):  # sums too large show as values that are not finite
            self._join(values)

    def _join(self, values: npt.NDArray[np.float64]) -> None:
        missing = np.isnan(values)
        if missing.any():
            count = (~missing).sum(axis=0).astype(np.float64)
            values = np.where(missing, 0.0, values)
            mean = values.sum(axis=0) / np.maximum(count, 1.0)
            differences = np.where(missing, 0.0, values - mean)
        else:
            count = np.full(values.shape[1], float(len(values)))
            mean = values.sum(axis=0) / np.maximum(count, 1.0)
            differences = values - mean
        np.square(differences, out=differences)
        total = np.maximum(self.count + count, 1.0)
        step = mean - self.mean
        self._deviations += differences.sum(axis=0) + step * step * (self.count * count / total)
        self.mean += step * (count / total)
        self.count += count

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """The population's standard deviation; 1 where all values are alike, so that dividing by it changes nothing."""
        deviation = np.sqrt(self._deviations / np.maximum(self.count, 1.0))
        constant = deviation <= 1e-14 * np.abs(self.mean)  # nothing but rounding
        return np.where(constant, 1.0, deviation)
