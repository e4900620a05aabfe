"""What to do when an attempt is lost: pure decisions over what happened, without clocks or processes.

Whatever ends an attempt is of one of four sorts:

    the user's      a ChainruleError: diverged, bad data. The coordinator tells it as the end; never tried again.
    the machine's   AttemptLost: a process died, a disk is full, files that we made are gone. It may not happen again:
                    tried again, ever later.
    out of memory   OutOfMemory: the machine's too, but likely to come again, and neighbours suffer: tried again twice.
    unknown         InternalError: a mistake of ours, whose words are for the log: tried again once.
"""

import errno
from dataclasses import dataclass

from workers.job import AttemptLost, InternalError, NotPlaced, OutOfMemory, TooFewCpus

__all__ = [
    "LONGEST_BACK_OFF_S",
    "MAX_INTERNAL_ERRORS",
    "MAX_LOSSES_WITHOUT_PROGRESS",
    "MAX_OUT_OF_MEMORY",
    "NO_ROOM",
    "PLACE_AGAIN_AFTER_S",
    "GiveUp",
    "Losses",
    "Retry",
    "after_loss",
    "back_off_s",
    "death_of",
    "loss_by",
    "pauses_because",
    "retry_write_after_s",
    "words_of",
]

MAX_LOSSES_WITHOUT_PROGRESS = 12  # an outage of five minutes is outlasted: that is how long their back-offs are in all
MAX_INTERNAL_ERRORS = 2  # a mistake mostly comes again; once more is tried in case the moment had a part in it
MAX_OUT_OF_MEMORY = 3  # in all: where there is too little memory, a checkpoint on the way does not make it more
LONGEST_BACK_OFF_S = 60.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FIRST_RETRY_S, LAST_RETRY_S = 5.0, 300.0  # from a write that failed to the next: twice as long each time
PLACE_AGAIN_AFTER_S = 30.0  # what other programs hold of the cluster, they mostly hold for a while

# Ray's words for what its memory monitor does. The words for any other death name the kernel's OOM killer among the
# causes that there may be, so that "OOM" in them says nothing.
LOW_ON_MEMORY = "running low on memory"


@dataclass(frozen=True)
class Losses:
    """The attempts that a job has lost."""

    without_progress: int = 0
    """Since its last new checkpoint."""
    internal_errors: int = 0
    """To mistakes of ours, of these."""
    out_of_memory: int = 0
    """For want of memory, in all."""

    def and_one_by(self, loss: AttemptLost) -> "Losses":
        """With one more; an attempt that found no place has lost nothing."""
        if isinstance(loss, NotPlaced):
            return self
        return Losses(
            self.without_progress + 1,
            self.internal_errors + isinstance(loss, InternalError),
            self.out_of_memory + isinstance(loss, OutOfMemory),
        )


@dataclass(frozen=True)
class Retry:
    """Queue the job again, to start not before `in_s` seconds have passed; it resumes from its newest checkpoint."""

    reason: str
    in_s: float = 0.0


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
        return OutOfMemory("out of memory: the machine has none left")
    return InternalError(f"internal error ({type(error).__name__}); the service's log has the details")


def death_of(process: str, cause: str, *, starved: bool = False) -> AttemptLost:
    """How an attempt was lost of which a process died.

    Args:
        cause: how Ray words that.
        starved: whether the kernel of its machine ended a process just then for want of memory.
    """
    if starved or LOW_ON_MEMORY in cause:
        return OutOfMemory(f"out of memory: {process} was ended, as its machine ran low on memory")
    return AttemptLost(f"{process} died: {cause.splitlines()[0].rstrip('.') if cause else 'nobody knows why'}")


def after_loss(loss: AttemptLost, losses: Losses) -> Retry | GiveUp:
    """Decides what follows when an attempt was lost; `losses` count this one.

    A job that kills its workers each time before it gets anywhere would do so for ever. One that found no place has
    killed nobody.
    """
    if isinstance(loss, TooFewCpus):
        return Retry(str(loss))  # the scheduler starts it once there are enough
    if isinstance(loss, NotPlaced):
        again = f"tried again in {PLACE_AGAIN_AFTER_S:g} s"
        return Retry(f"{loss}, as other programs use it too; {again}", PLACE_AGAIN_AFTER_S)
    if isinstance(loss, OutOfMemory) and losses.out_of_memory >= MAX_OUT_OF_MEMORY:
        return GiveUp(f"{loss}; given up after {losses.out_of_memory} such attempts")
    if isinstance(loss, InternalError) and losses.internal_errors >= MAX_INTERNAL_ERRORS:
        return GiveUp(str(loss))
    if losses.without_progress >= MAX_LOSSES_WITHOUT_PROGRESS:
        return GiveUp(f"lost {losses.without_progress} times without a new checkpoint; last: {loss}")
    in_s = back_off_s(losses.without_progress)
    when = f" in {in_s:g} s" if in_s else ""
    return Retry(f"{loss}; tried again{when} from the newest checkpoint", in_s)


def back_off_s(losses_without_progress: int) -> float:
    """Seconds until a job is tried again: none after its first loss, then 1, 2, 4 … up to LONGEST_BACK_OFF_S."""
    if losses_without_progress <= 1:
        return 0.0
    return min(2.0 ** min(losses_without_progress - 2, 10), LONGEST_BACK_OFF_S)


def words_of(error: OSError) -> str:
    """What the operating system says, without the paths that it says it of."""
    return error.strerror or type(error).__name__


def retry_write_after_s(failures: int) -> float:
    """How long to wait after so many writes that failed one after the other, at least one."""
    doublings = min(failures - 1, 16)  # more would only overflow
    return min(FIRST_RETRY_S * 2.0**doublings, LAST_RETRY_S)


def pauses_because(what: str, error: OSError) -> str:
    """Why a job pauses that cannot go on, as the machine does not let it: `what` says where it stands."""
    remedy = "there is room" if error.errno in NO_ROOM else "that is mended"
    return f"{what}: {words_of(error)}; resume it when {remedy}"
