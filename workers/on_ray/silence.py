"""Who has been silent for too long: the decision alone, without Ray."""

from collections.abc import Container, Iterable

__all__ = ["Silences"]


class Silences:
    """Attempts that hold CPUs and did not answer, look by look: one that has not `many` times in a row has died."""

    def __init__(self, many: int) -> None:
        self._many = many
        self._looks: dict[str, int] = {}  # in a row, by attempt

    def look(self, holding: Iterable[str], answering: Container[str]) -> set[str]:
        """Those that have died, of all attempts that hold CPUs, at a look at which those others answered."""
        silent = {attempt for attempt in holding if attempt not in answering}
        self._looks = {attempt: self._looks.get(attempt, 0) + 1 for attempt in silent}
        return {attempt for attempt, looks in self._looks.items() if looks >= self._many}
