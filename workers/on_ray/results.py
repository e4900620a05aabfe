"""What a Ray call comes to, in our own terms."""

from typing import Any

import ray
import ray.exceptions

from workers.failures import death_of
from workers.job import AttemptLost

__all__ = ["first_line", "raise_if_ended", "result"]


def result(references: Any, within_s: float | None = None) -> Any:
    """Waits for results; errors come as they were raised there, a process that died or is silent as AttemptLost."""
    try:
        return ray.get(references, timeout=within_s)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise death_of("a process of the job", str(error)) from None


def raise_if_ended(running: Any, who: str) -> None:
    """Raises what ended a call that is to last, or AttemptLost, if it has ended."""
    if ray.wait([running], timeout=0)[0]:
        result(running)
        raise AttemptLost(f"{who} left")


def first_line(error: BaseException) -> str:
    """The first line of an error's message: the rest is a stack trace, which is for the log."""
    return (str(error).splitlines() or [type(error).__name__])[0]
