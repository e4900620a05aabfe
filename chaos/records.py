"""What an experiment returns: how often it disturbed what, and what became of the jobs."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records import Spread

__all__ = ["Finding", "Skipped"]


class Skipped(Exception):
    """An experiment cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What one experiment found. `recovery` is in seconds, from the disturbance until training is told of again."""

    disturbances: int
    kind: str
    """What they were, in the plural: "kills"."""
    wanted: int
    jobs: int
    """Jobs that were acknowledged meanwhile."""
    lost: int
    """Jobs of those that did not end as they had to."""
    differing: int
    """Jobs of those whose digest is not that of an undisturbed run."""
    recovery: Spread | None = None
    within_s: float | None = None
    """What the longest recovery must not exceed."""
    broken: Sequence[str] = ()
    """Every promise that was broken, in words."""
    notes: Sequence[str] = ()

    @property
    def nothing_lost(self) -> bool:
        """Whether all was kept, however long it took."""
        return not (self.lost or self.differing or self.broken)

    @property
    def measured(self) -> int:
        """How many recoveries were measured."""
        return 0 if self.recovery is None else self.recovery.runs

    @property
    def done(self) -> bool:
        """Whether there were as many disturbances as were wanted, each with its recovery where that has a limit."""
        return self.disturbances >= self.wanted and (self.within_s is None or self.measured >= self.wanted)

    @property
    def in_time(self) -> bool:
        """Whether every recovery that was measured was as quick as it must be."""
        return self.within_s is None or self.recovery is None or self.recovery.high <= self.within_s

    @property
    def passed(self) -> bool:
        return self.nothing_lost and self.in_time and self.done
