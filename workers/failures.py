"""What to do when an attempt is lost: pure decisions over what happened, without clocks or processes."""

from dataclasses import dataclass

__all__ = ["MAX_LOSSES_WITHOUT_PROGRESS", "GiveUp", "Retry", "after_loss"]

MAX_LOSSES_WITHOUT_PROGRESS = 3


@dataclass(frozen=True)
class Retry:
    """Queue the job again; it resumes from its newest checkpoint."""

    reason: str


@dataclass(frozen=True)
class GiveUp:
    """Fail the job."""

    reason: str


def after_loss(message: str, losses_without_progress: int) -> Retry | GiveUp:
    """Decides what follows when the machinery of an attempt died with `message`.

    `losses_without_progress` counts this loss and those before it since the last checkpoint: a job that kills
    its workers each time before it gets anywhere would do so for ever.
    """
    if losses_without_progress >= MAX_LOSSES_WITHOUT_PROGRESS:
        return GiveUp(f"lost {losses_without_progress} times without a new checkpoint; last: {message}")
    return Retry(f"{message}; tried again from the newest checkpoint")
