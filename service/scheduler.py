"""Which waiting job gets CPUs next, and what the others wait for.

Strictly in order, by priority and then by age: a job is never overtaken by one behind it, even when that one would fit
into what is free now. So a job that needs many CPUs is not starved by a stream of small ones. The exceptions are jobs
that need more than the whole cluster has, and those for which it had no place just now, because other programs use it
too: they would hold up everybody for as long, so they are stepped over.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from service.database import AWAY
from service.jobs import JobState, Move, Requested
from service.runner import Attempt, Runners
from service.store import Store
from service.takeover import Takeover
from shared.errors import Unavailable
from workers.job import Cluster

__all__ = ["Decision", "Scheduler", "Waiting", "decide"]

TICK_S = 2.0  # looks at the cluster anew even when nothing woke it: nodes come and go
LOOK_AHEAD = 1_000  # waiting jobs that are looked at, and told what they wait for

log = logging.getLogger("chainrule")


@dataclass(frozen=True)
class Waiting:
    """A job that waits for CPUs: it starts with `cpus_min` at least and takes `cpus_max` at most."""

    id: str
    cpus_min: int
    cpus_max: int
    paused: bool = False
    not_placed: bool = False
    """Whether the cluster had no place for it just now; its reason says so already."""


@dataclass(frozen=True)
class Decision:
    """Which jobs start, with how many CPUs, and what each of the others waits for."""

    starts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def decide(waiting: Sequence[Waiting], free: int, total: int) -> Decision:
    """Decides for jobs in the order in which they are served, with `free` of `total` CPUs not in use."""
    starts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    before = 0
    for job in waiting:
        resumes = "resumes when it is its turn: " if job.paused else ""
        if job.not_placed:
            continue
        if job.cpus_min > total:
            reasons[job.id] = f"{resumes}needs {_cpus(job.cpus_min)} at once; the cluster has {total}"
        elif before == 0 and free >= job.cpus_min:
            starts[job.id] = min(job.cpus_max, free)
            free -= starts[job.id]
        else:
            reasons[job.id] = f"{resumes}waits for {_needed(job, free, total)}" + _behind(before)
            before += 1
    return Decision(starts, reasons)


def _needed(job: Waiting, free: int, total: int) -> str:
    what = "a free CPU" if job.cpus_min == 1 else f"{job.cpus_min} free CPUs at once"
    return f"{what}: needs {job.cpus_min}, {free} of {total} {'is' if free == 1 else 'are'} free"


def _cpus(count: int) -> str:
    return "1 CPU" if count == 1 else f"{count} CPUs"


def _behind(before: int) -> str:
    return f"; {before} {'job' if before == 1 else 'jobs'} before it" if before else ""


def _always(move: Move, _requested: Requested) -> Move:
    return move


class Scheduler:
    """A thread that starts waiting jobs whenever something has changed, and takes over those whose owner is gone."""

    def __init__(self, store: Store, cluster: Cluster, runners: Runners, takeover: Takeover) -> None:
        self._store, self._cluster, self._runners, self._takeover = store, cluster, runners, takeover
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something has changed: a job came, ended or was resumed."""
        self._changed.set()

    def stop(self) -> None:
        """Starts no further job; returns when the thread has ended."""
        self._stopping.set()
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            try:
                self._takeover.look()
                with self._store.owner.scheduling():
                    self._pass()
            except AWAY:  # which the heartbeat tells
                self._stopping.wait(TICK_S)
            except Exception:
                log.exception("the scheduler's pass failed; it is tried again in %g s", TICK_S)
                self._stopping.wait(TICK_S)
            self._changed.wait(TICK_S)

    def _pass(self) -> None:
        rows = {row.id: row for row in self._store.waiting(LOOK_AHEAD)}
        if not rows:
            return
        try:
            total = int(sum(node.cpus for node in self._cluster.nodes()))
        except Unavailable as error:
            self._tell(rows, dict.fromkeys(rows, f"waits for the cluster: {error}"))
            return
        free = max(0, total - self._runners.cpus_in_use())
        not_placed = self._runners.not_placed()  # after the rows: a job is known to be of these before it is queued
        waiting = [
            Waiting(row.id, row.cpus_min, row.cpus_max, row.state == JobState.PAUSED, row.id in not_placed)
            for row in rows.values()
        ]
        decision = decide(waiting, free, total)
        for job_id, cpus in decision.starts.items():
            if self._stopping.is_set():
                return
            row = rows[job_id]
            why = f"started on {_cpus(cpus)}" if row.state == JobState.QUEUED else f"resumed on {_cpus(cpus)}"
            start = Move(JobState.RUNNING, why)
            job = self._store.move(job_id, row.epoch, JobState(row.state), partial(_always, start), workers=cpus)
            if job is not None:
                self._runners.launch(Attempt(job_id, job.attempt, cpus, job.epoch))
        self._tell(rows, decision.reasons)

    def _tell(self, rows: Mapping[str, object], reasons: Mapping[str, str]) -> None:
        """Writes only what has changed."""
        changed = {job_id: why for job_id, why in reasons.items() if getattr(rows[job_id], "reason", None) != why}
        self._store.set_reasons(changed)
