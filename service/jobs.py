"""What may happen to a job: its states, the moves between them, and what a request or the end of an attempt means.

Decisions only: who asks for a move, and what follows from it, is told by pure functions; `service.store` moves.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from shared.errors import Conflict
from workers.failures import GiveUp, after_loss
from workers.job import AttemptLost

__all__ = [
    "MOVES",
    "Flag",
    "JobState",
    "Move",
    "Nothing",
    "Requested",
    "Verb",
    "after_attempt_lost",
    "after_end",
    "after_interruption",
    "respond",
]

Verb = Literal["pause", "resume", "cancel"]
Requested = Verb | None


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    """It waits for CPUs."""
    RUNNING = "running"
    """An attempt at it holds CPUs."""
    PAUSED = "paused"
    """It holds no CPUs and waits for somebody to resume it; its checkpoint keeps its place."""
    SUCCEEDED = "succeeded"
    """It ended with a model."""
    FAILED = "failed"
    """It ended without a model; its reason says why."""
    CANCELLED = "cancelled"
    """It ended because somebody asked for that."""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can move it any more."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

MOVES: dict[tuple[JobState | None, JobState], str] = {
    (None, JobState.QUEUED): "Submitted.",
    (JobState.QUEUED, JobState.RUNNING): "The scheduler gave it CPUs.",
    (JobState.QUEUED, JobState.CANCELLED): "Cancelled before it started, or between two attempts.",
    (JobState.RUNNING, JobState.SUCCEEDED): "It trained to its end, or stopped early, and its model is on disk.",
    (JobState.RUNNING, JobState.FAILED): "It cannot be trained as asked, or was lost too often without progress.",
    (JobState.RUNNING, JobState.CANCELLED): "It stopped because somebody asked for that.",
    (JobState.RUNNING, JobState.PAUSED): "It wrote a checkpoint and stopped because somebody asked for that, or the "
    "machine does not let it go on.",
    (JobState.RUNNING, JobState.QUEUED): "The attempt was lost or found no place, or the service stopped; the next one "
    "resumes from the newest checkpoint.",
    (JobState.PAUSED, JobState.RUNNING): "Resumed, and the scheduler gave it CPUs.",
    (JobState.PAUSED, JobState.CANCELLED): "Cancelled while it was paused.",
}
"""Every move that there is, with what it means."""


@dataclass(frozen=True)
class Move:
    """The job goes to another state."""

    to: JobState
    why: str
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class Flag:
    """The job stays where it is, and `requested` is noted on it."""

    requested: Requested
    why: str | None = None


@dataclass(frozen=True)
class Nothing:
    """What is asked for is so already."""


# ---------------------------------------------------------------- what users ask for
def respond(verb: Verb, state: JobState, requested: Requested) -> Move | Flag | Nothing:
    """What a user's request does to a job in `state` of which `requested` was asked before.

    Repeating a request is harmless. Raises Conflict, which says the state, where it cannot be met.
    """
    if verb == "cancel":
        return _cancel(state, requested)
    if state is JobState.RUNNING and requested == "cancel":
        raise Conflict(f"the job is {state} and being cancelled: it cannot be {_done(verb)}")
    return _pause(state, requested) if verb == "pause" else _resume(state, requested)


def _cancel(state: JobState, requested: Requested) -> Move | Flag | Nothing:
    if state in (JobState.QUEUED, JobState.PAUSED):
        return Move(JobState.CANCELLED, f"cancelled by request while {state}")
    if state is JobState.RUNNING:
        return Nothing() if requested == "cancel" else Flag("cancel", "is being cancelled")
    if state is JobState.CANCELLED:
        return Nothing()
    raise Conflict(f"the job has {state}: it cannot be cancelled any more")


def _pause(state: JobState, requested: Requested) -> Flag | Nothing:
    if state is JobState.RUNNING:
        return Nothing() if requested == "pause" else Flag("pause", "is being paused")
    if state is JobState.PAUSED:
        return Flag(None, "paused by request") if requested == "resume" else Nothing()
    if state is JobState.QUEUED:
        raise Conflict("the job is queued: only a running job can be paused; cancel it, or wait until it runs")
    raise Conflict(f"the job {_is(state)}: it cannot be paused any more")


def _resume(state: JobState, requested: Requested) -> Flag | Nothing:
    if state is JobState.PAUSED:
        return Nothing() if requested == "resume" else Flag("resume", "resumes when it is given CPUs")
    if state is JobState.RUNNING:
        return Flag("resume", "resumes as soon as it has paused") if requested == "pause" else Nothing()
    if state is JobState.QUEUED:
        raise Conflict("the job is queued: it starts by itself when CPUs are free; only a paused job can be resumed")
    raise Conflict(f"the job {_is(state)}: it cannot be resumed any more")


def _is(state: JobState) -> str:
    return "is cancelled" if state is JobState.CANCELLED else f"has {state}"


def _done(verb: Verb) -> str:
    return {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}[verb]


# ---------------------------------------------------------------- what the end of an attempt means
def after_end(outcome: str, requested: Requested, data: dict[str, Any]) -> Move:
    """Where a running job goes when its attempt told its end; `data` is that of the report."""
    reason = data.get("reason")
    if outcome == "succeeded":
        return Move(JobState.SUCCEEDED, reason or "trained to its end")
    if outcome == "failed":
        why = reason or "the attempt failed"
        return Move(JobState.FAILED, why, {"type": data.get("error") or "TrainingError", "detail": why})
    if outcome == "cancelled" or requested == "cancel":
        return Move(JobState.CANCELLED, "cancelled by request while running")
    if reason is not None:
        return Move(JobState.PAUSED, reason)
    if requested in ("pause", "resume"):
        return Move(JobState.PAUSED, "paused by request")
    return Move(JobState.QUEUED, "the service stopped; resumes from its checkpoint at the next start")


def after_attempt_lost(loss: AttemptLost, requested: Requested, losses_without_progress: int) -> Move:
    """Where a running job goes when its attempt died; the losses count this one, since the last new checkpoint."""
    if requested is not None:
        return after_interruption(requested, str(loss))
    decision = after_loss(loss, losses_without_progress)
    if isinstance(decision, GiveUp):
        return Move(JobState.FAILED, decision.reason, {"type": type(loss).__name__, "detail": decision.reason})
    return Move(JobState.QUEUED, decision.reason)


def after_interruption(requested: Requested, why: str) -> Move:
    """Where a running job goes whose attempt ended through no fault of its own, and will not tell its end."""
    if requested == "cancel":
        return Move(JobState.CANCELLED, f"cancelled by request while running ({why})")
    if requested in ("pause", "resume"):
        return Move(JobState.PAUSED, f"paused by request ({why})")
    return Move(JobState.QUEUED, why)
