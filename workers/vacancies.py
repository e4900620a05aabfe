"""The seats of an attempt that nobody has: when the next process is hired for each."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from workers.failures import back_off_s

__all__ = ["Vacancies"]

HIRES_AGAIN_AFTER_S: Final = 2.0  # however many seats are empty


class Vacancies:
    """Whoever has computed is replaced at once. For a seat whose processes are lost before they do, as on a node that
    the others do not reach, later each time: to find that out stops the job for seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._in_vain: Counter[int] = Counter()  # by number: how many one after the other
        self._from: dict[int, float] = {}
        self._hired_at = float("-inf")

    def lost(self, number: int, *, in_vain: bool) -> None:
        """Who had that number was lost; `in_vain`: before a step was done with them."""
        self._in_vain[number] = self._in_vain[number] + 1 if in_vain else 0
        self._from[number] = self._clock() + back_off_s(1 + self._in_vain[number])

    def due(self, empty: Sequence[int]) -> list[int]:
        """The numbers for which to hire now, of those that nobody has."""
        now = self._clock()
        due = [number for number in empty if now >= self._from.get(number, now)]
        if not due or now < self._hired_at + HIRES_AGAIN_AFTER_S:
            return []
        self._hired_at = now
        return due
