"""How long to measure, and where to say what is being measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Run"]

Amount = TypeVar("Amount", int, float)


@dataclass(frozen=True)
class Run:
    """One run of the benchmarks. `say` shows a line of progress. A quick run tries whether everything works."""

    say: Callable[[str], None]
    quick: bool = False

    @property
    def rounds(self) -> int:
        """How often each quantity is measured."""
        return self.amount(5, quick=1)

    def amount(self, full: Amount, *, quick: Amount) -> Amount:
        """The one of two sizes that fits the run."""
        return quick if self.quick else full
