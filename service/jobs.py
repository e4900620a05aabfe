"""What may happen to a job: its states, the moves between them, and what a request or the end of an attempt means.

Decisions only: who asks for a move, and what follows from it, is told by pure functions; `service.store` moves.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from shared.errors import Conflict
from workers.failures import GiveUp, Losses, after_loss
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
    "cpus_said",
    "give_way",
    "preempted",
    "respond",
    "state_event",
    "waited_too_long",
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
    """It holds no CPUs, and its checkpoint keeps its place. It waits for somebody to resume it; or for CPUs, where that
    was asked for or it gave way to a job of higher priority."""
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
    (JobState.QUEUED, JobState.FAILED): "It waited longer than it was to, and never started.",
    (JobState.RUNNING, JobState.SUCCEEDED): "It trained to its end, or stopped early, and its model is on disk.",
    (JobState.RUNNING, JobState.FAILED): "It cannot be trained as asked, or was lost too often without progress.",
    (JobState.RUNNING, JobState.CANCELLED): "It stopped because somebody asked for that.",
    (
        JobState.RUNNING,
        JobState.PAUSED,
    ): "It wrote a checkpoint and stopped because somebody asked for that, or to give "
    "way to a job of higher priority, and then resumes by itself, or because the machine does not let it go on.",
    (JobState.RUNNING, JobState.QUEUED): "The attempt was lost or found no place, or the service stopped; the next one "
    "resumes from the newest checkpoint.",
    (JobState.PAUSED, JobState.RUNNING): "Resumed, by somebody or by itself, and the scheduler gave it CPUs.",
    (JobState.PAUSED, JobState.CANCELLED): "Cancelled while it was paused.",
}
"""Every move that there is, with what it means."""


@dataclass(frozen=True)
class Move:
    """The job goes to another state."""

    to: JobState
    why: str
    error: dict[str, Any] | None = None
    requested: Requested = None
    """What it has yet to come to: a paused job is to resume."""
    preempted_by: str | None = None
    """Of a job that gave way: to whom, in words."""
    retry_in_s: float = 0.0
    """How long it must not start again."""


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
def after_end(outcome: str, requested: Requested, data: dict[str, Any], gives_way: Move | None = None) -> Move:
    """Where a running job goes when its attempt told its end; `data` is that of the report.

    `gives_way` is the move that it was stopped for, if that was not for a user's sake: what users ask for counts more.
    """
    reason = data.get("reason")
    if outcome == "failed":
        why = reason or "the attempt failed"
        return Move(JobState.FAILED, why, {"type": data.get("error") or "TrainingError", "detail": why})
    if outcome == "cancelled" or requested == "cancel":  # trained to its end or not: who cancelled it was told so
        return Move(JobState.CANCELLED, "cancelled by request while running")
    if outcome == "succeeded":
        return Move(JobState.SUCCEEDED, reason or "trained to its end")
    if reason is not None:
        return Move(JobState.PAUSED, reason)
    if requested in ("pause", "resume"):
        return _paused("paused by request", requested)
    return gives_way or Move(JobState.QUEUED, "the service stopped; resumes from its checkpoint at the next start")


def give_way(by: str, cpus_min: int) -> Move:
    """Where a running job goes, which needs `cpus_min`, when it has stopped for the sake of another, named in words."""
    return Move(JobState.PAUSED, preempted(by, cpus_min), requested="resume", preempted_by=by)


def waited_too_long(max_wait_s: float) -> Move:
    """Where a job goes that has not started in time."""
    why = f"waited longer than max_wait_s = {max_wait_s:g} s"
    return Move(JobState.FAILED, why, {"type": "WaitedTooLong", "detail": why})


def preempted(by: str, cpus_min: int) -> str:
    """Why a job is paused that gave way to another."""
    are = "is" if cpus_min == 1 else "are"
    return f"preempted by {by}; resumes by itself when {cpus_said(cpus_min)} {are} free"


def cpus_said(count: int) -> str:
    """So many CPUs, in words."""
    return "1 CPU" if count == 1 else f"{count} CPUs"


def after_attempt_lost(loss: AttemptLost, requested: Requested, losses: Losses) -> Move:
    """Where a running job goes when its attempt died; `losses` count this one."""
    if requested is not None:
        return after_interruption(requested, str(loss))
    decision = after_loss(loss, losses)
    if isinstance(decision, GiveUp):
        return Move(JobState.FAILED, decision.reason, {"type": type(loss).__name__, "detail": decision.reason})
    return Move(JobState.QUEUED, decision.reason, retry_in_s=decision.in_s)


def after_interruption(requested: Requested, why: str) -> Move:
    """Where a running job goes whose attempt ended through no fault of its own, and will not tell its end."""
    if requested == "cancel":
        return Move(JobState.CANCELLED, f"cancelled by request while running ({why})")
    if requested in ("pause", "resume"):
        return _paused(f"paused by request ({why})", requested)
    return Move(JobState.QUEUED, why)


def _paused(why: str, requested: Requested) -> Move:
    """A resume that was asked for while the job was being paused outlives the pause."""
    return Move(JobState.PAUSED, why, requested="resume" if requested == "resume" else None)


def state_event(before: JobState | None, to: JobState, why: str, attempt: int, moment: str) -> dict[str, Any]:
    """What the event of a move tells; of trouble while a job trains on, both states are `running`."""
    return {"from": before, "to": to, "state": to, "reason": why, "attempt": attempt, "at": moment}
