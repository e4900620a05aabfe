"""Mean and standard deviation of a stream of numbers, in one pass and without cancellation."""

import numpy as np
import numpy.typing as npt

__all__ = ["Moments"]


class Moments:
    """Count, mean and sum of squared deviations of each of `width` columns, joined chunk after chunk of rows.

    Chunks are joined by the pairwise rule of Chan, Golub & LeVeque (1979). The result's bits depend on the rows and on
    where they are cut into chunks, on nothing else.
    """

    def __init__(self, width: int = 1) -> None:
        self.count = np.zeros(width)
        self.mean = np.zeros(width)
        self._deviations = np.zeros(width)

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> "Moments":
        """Those of one chunk: rows × width numbers; NaN is a missing one."""
        moments = cls(values.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # sums too large show as values that are not finite
            moments._take(values)
        return moments

    def _take(self, values: npt.NDArray[np.float64]) -> None:
        missing = np.isnan(values)
        if missing.any():
            self.count = (~missing).sum(axis=0).astype(np.float64)
            values = np.where(missing, 0.0, values)
            self.mean = values.sum(axis=0) / np.maximum(self.count, 1.0)
            differences = np.where(missing, 0.0, values - self.mean)
        else:
            self.count = np.full(values.shape[1], float(len(values)))
            self.mean = values.sum(axis=0) / np.maximum(self.count, 1.0)
            differences = values - self.mean
        np.square(differences, out=differences)
        self._deviations = differences.sum(axis=0)

    def add(self, chunk: "Moments") -> None:
        """Takes in the moments of the next chunk."""
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.maximum(self.count + chunk.count, 1.0)
            step = chunk.mean - self.mean
            self._deviations += chunk._deviations + step * step * (self.count * chunk.count / total)
            self.mean += step * (chunk.count / total)
            self.count += chunk.count

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """The population's standard deviation; 1 where all values are alike, so that dividing by it changes nothing."""
        deviation = np.sqrt(self._deviations / np.maximum(self.count, 1.0))
        constant = deviation <= 1e-14 * np.abs(self.mean)  # nothing but rounding
        return np.where(constant, 1.0, deviation)
