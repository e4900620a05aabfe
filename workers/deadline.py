"""For how long somebody may be silent before he is given up."""

from typing import Final

from shared.plan import Plan
from shared.sharding import SLICE_ROWS

__all__ = ["Deadline"]

STEP_WITHIN_S: Final = 8.0  # at least, since machines pause; a process that hangs is to be given up within 15 s
SLOW_FLOPS: Final = 1e10  # operations a second of a slow core, for what cannot be compared with what was done before
TIMES_THE_LONGEST: Final = 5.0
KEPT_EACH_STEP: Final = 0.98  # of how long the longest took, so that it is one of the last hundred or so


class Deadline:
    """Learns from the steps that were done. Each slice of a validation is an answer, and all are of one size."""

    def __init__(self, plan: Plan) -> None:
        # Forth and back are three products with the weights, of a multiplication and an addition each.
        self._longest_s = 6 * plan.parameters * min(plan.spec.batch_size, plan.training_rows) / SLOW_FLOPS
        self._slice_s = 2 * plan.parameters * min(SLICE_ROWS, plan.validation_rows) / SLOW_FLOPS

    def took(self, step_s: float) -> None:
        """A step took so long."""
        self._longest_s = max(step_s, KEPT_EACH_STEP * self._longest_s)

    @property
    def within_s(self) -> float:
        """For how long the next may."""
        return max(STEP_WITHIN_S, TIMES_THE_LONGEST * self._longest_s)

    @property
    def slice_within_s(self) -> float:
        """For how long a slice of the validation may: what makes steps slow makes it slow too."""
        return max(self.within_s, TIMES_THE_LONGEST * self._slice_s)
