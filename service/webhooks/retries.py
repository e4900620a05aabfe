"""What follows from an attempt to deliver: pure decisions."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["DISABLES_AFTER_S", "Answer", "Done", "GiveUp", "TryAgain", "after_attempt"]

DELAYS_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 28_800)  # 22 to 26 hours, with the jitter
JITTER = 0.2  # so that what failed at once does not come again at once
LONGEST_RETRY_AFTER_S = 6 * 3600
DISABLES_AFTER_S = 3 * 24 * 3600
GONE = 410


@dataclass(frozen=True)
class Answer:
    """How an attempt ended: with a status, or with an error in words."""

    duration_s: float
    status: int | None = None
    error: str | None = None
    body: str | None = None
    """Its beginning."""
    retry_after_s: float | None = None
    """How long the receiver asks us to wait."""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def problem(self) -> str | None:
        """What was wrong, in words."""
        if self.error is not None or self.is_success:
            return self.error
        return f"the receiver answered {self.status}, expected 200 to 299"


@dataclass(frozen=True)
class Done:
    """It has arrived."""

    def __str__(self) -> str:
        return "arrived"


@dataclass(frozen=True)
class TryAgain:
    """It is tried again after so many seconds."""

    in_s: float

    def __str__(self) -> str:
        return f"tried again in {self.in_s:.0f} s"


@dataclass(frozen=True)
class GiveUp:
    """It is not tried again; where `disables` says why, nothing is sent to that webhook any more."""

    disables: str | None = None

    def __str__(self) -> str:
        return "given up" if self.disables is None else f"given up, and its webhook is disabled: {self.disables}"


def after_attempt(
    answer: Answer,
    attempt: int,
    *,
    retries: bool,
    failing_for_s: float,
    random: Callable[[], float],
) -> Done | TryAgain | GiveUp:
    """What follows from attempt number `attempt` (1, 2, …) of a delivery, whose webhook has failed for `failing_for_s`
    without one success. `retries` is false for what was sent by hand. `random` gives numbers from 0 to 1."""
    if answer.is_success:
        return Done()
    if answer.status == GONE:
        return GiveUp("the receiver answered 410 Gone: it wants no more")
    if not retries:
        return GiveUp()
    if attempt <= len(DELAYS_S):
        delay_s = DELAYS_S[attempt - 1] * (1 + JITTER * random())
        asked_s = min(answer.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        return TryAgain(max(delay_s, asked_s))
    if failing_for_s >= DISABLES_AFTER_S:
        return GiveUp(f"nothing was delivered for {failing_for_s / 86_400:.0f} days; last: {answer.problem}")
    return GiveUp()
