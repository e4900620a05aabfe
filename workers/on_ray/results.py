"""What a Ray call comes to, in our own terms."""

from typing import Any

import ray
import ray.exceptions

from workers.failures import death_of
from workers.job import AttemptLost, OutOfMemory
from workers.kernel_kills import KernelKills

__all__ = ["first_line", "raise_if_ended", "result"]


def result(references: Any, within_s: float | None = None) -> Any:
    """Waits for results; errors come as they were raised there, a process that died or is silent as AttemptLost."""
    try:
        return ray.get(references, timeout=within_s)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.GetTimeoutError:
        raise AttemptLost(f"a process of the job was silent for {within_s:g} s") from None
    except ray.exceptions.RayError as error:
        raise death_of("a process of the job", str(error)) from None


def raise_if_ended(running: Any, who: str, kernel: KernelKills | None = None) -> None:
    """Raises what ended a call that is to last, or AttemptLost, if it has ended; `kernel` is that of its machine."""
    if not ray.wait([running], timeout=0)[0]:
        return
    try:
        result(running)
    except OutOfMemory:
        raise
    except AttemptLost as loss:
        raise (death_of(who, "", starved=True) if kernel is not None and kernel.lately() else loss) from None
    raise AttemptLost(f"{who} left")


def first_line(error: BaseException) -> str:
    """The first line of an error's message: the rest is a stack trace, which is for the log."""
    return (str(error).splitlines() or [type(error).__name__])[0]
