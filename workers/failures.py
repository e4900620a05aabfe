"""What to do when an attempt is lost: pure decisions over what happened, without clocks or processes.

Three sorts of exceptions end an attempt. A ChainruleError is the user's: the coordinator tells it as the attempt's end,
and nothing is tried again. What the machine does to us (a process dies, a disk is full) may not happen again, so the
job is tried again. Anything else is a mistake of ours, whose words are for the log.
"""

import errno
from dataclasses import dataclass

from workers.job import AttemptLost, InternalError, NotPlaced

__all__ = [
    "MAX_INTERNAL_ERRORS",
    "MAX_LOSSES_WITHOUT_PROGRESS",
    "GiveUp",
    "Retry",
    "after_loss",
    "loss_by",
    "pauses_because",
    "retry_write_after_s",
    "words_of",
]

MAX_LOSSES_WITHOUT_PROGRESS = 3
MAX_INTERNAL_ERRORS = 2  # a mistake mostly comes again; once more is tried in case the moment had a part in it
FIRST_RETRY_S, LAST_RETRY_S = 5.0, 300.0  # from a write that failed to the next: twice as long each time


@dataclass(frozen=True)
class Retry:
    """Queue the job again; it resumes from its newest checkpoint."""

    reason: str


@dataclass(frozen=True)
class GiveUp:
    """Fail the job."""

    reason: str


def loss_by(error: BaseException) -> AttemptLost:
    """How an attempt was lost that ended with `error`, whose message is told only if it is ours."""
    if isinstance(error, AttemptLost):
        return error
    if isinstance(error, OSError):
        return AttemptLost(f"the machine failed: {words_of(error)}")
    if isinstance(error, MemoryError):
        return AttemptLost("the machine has no memory left")
    return InternalError(f"internal error ({type(error).__name__}); the service's log has the details")


def after_loss(loss: AttemptLost, losses_without_progress: int) -> Retry | GiveUp:
    """Decides what follows when an attempt was lost.

    `losses_without_progress` counts this loss and those before it since the last checkpoint: a job that kills
    its workers each time before it gets anywhere would do so for ever. One that found no place has killed nobody.
    """
    if isinstance(loss, NotPlaced):
        return Retry(f"{loss}, as other programs use it too; tried again in a while")
    if isinstance(loss, InternalError) and losses_without_progress >= MAX_INTERNAL_ERRORS:
        return GiveUp(str(loss))
    if losses_without_progress >= MAX_LOSSES_WITHOUT_PROGRESS:
        return GiveUp(f"lost {losses_without_progress} times without a new checkpoint; last: {loss}")
    return Retry(f"{loss}; tried again from the newest checkpoint")


def words_of(error: OSError) -> str:
    """What the operating system says, without the paths that it says it of."""
    return error.strerror or type(error).__name__


def retry_write_after_s(failures: int) -> float:
    """How long to wait after so many writes that failed one after the other, at least one."""
    doublings = min(failures - 1, 16)  # more would only overflow
    return min(FIRST_RETRY_S * 2.0**doublings, LAST_RETRY_S)


def pauses_because(what: str, error: OSError) -> str:
    """Why a job pauses that cannot go on, as the machine does not let it: `what` says where it stands."""
    remedy = "there is room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "that is mended"
    return f"{what}: {words_of(error)}; resume it when {remedy}"
