"""What a benchmark returns: figures with their spread, and the goals that they reach or miss."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

__all__ = ["BenchmarkFailed", "Figure", "Goal", "Outcome", "Spread"]


class BenchmarkFailed(Exception):
    """A benchmark could not measure what it should; the message says why."""


@dataclass(frozen=True)
class Spread:
    """A quantity that was measured several times: its median, or another quantile, and the least and the most."""

    value: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float], quantile: float = 0.5) -> "Spread":
        """Raises ValueError for no values. A quantile other than the median is one of the values (nearest rank)."""
        if not values:
            raise ValueError("got no values, expected at least one")
        ordered = sorted(values)
        value = median(ordered) if quantile == 0.5 else ordered[max(0, ceil(quantile * len(ordered)) - 1)]
        return cls(value, ordered[0], ordered[-1], len(ordered))


@dataclass(frozen=True)
class Figure:
    """One measured quantity, and its place in the benchmark's table."""

    row: str
    column: str
    unit: str
    measured: Spread


@dataclass(frozen=True)
class Goal:
    """What a quantity must reach: `bound` at least, or at most."""

    what: str
    unit: str
    bound: float
    measured: Spread
    at_most: bool = False

    @property
    def missing(self) -> float:
        """How far the median is from the bound, in the goal's unit; 0 where it is reached."""
        beyond = self.measured.value - self.bound
        return max(0.0, beyond if self.at_most else -beyond)

    @property
    def is_reached(self) -> bool:
        return self.missing == 0


@dataclass(frozen=True)
class Outcome:
    """All that one benchmark found; `notes` say what was left out, and what else a reader must know."""

    figures: Sequence[Figure]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
