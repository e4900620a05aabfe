"""Where each job that waits stands, and when it will start: what the scheduler finds out now and then, for all readers.

A reader's question costs a few bisections in memory and no query, so that a list of jobs costs as much as it did. Each
control plane finds out for itself.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from service.allocation import Decision, Running
from service.clock import later, now, seconds_between
from service.estimate import Ends, starts_in
from service.fairness import Sharing
from service.line import Line
from service.queue import Queue

__all__ = ["Place", "Places"]

LOOKS_EVERY_S = 1.0
LOOKS_AT_LEAST_EVERY_S = 5.0  # however long a look takes, on a machine that others keep busy
AT_MOST = 0.05  # of the time
RUNTIMES_EVERY_S = 10.0
MAKES_ROOM_S = 2.0  # what a job that was asked to stop takes, about


class Place(NamedTuple):
    """Where a job stands: how many are served before it, and 1; and when it will start, if that can be told."""

    position: int
    estimated_start_at: str | None


class Places:
    """What is known of the jobs that wait. One thread looks, all may ask."""

    def __init__(
        self,
        queue: Queue,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], str] = now,
    ) -> None:
        self._queue, self._monotonic, self._wall_clock = queue, monotonic, wall_clock
        self._line = Line()
        self._starts_at: Mapping[str, str] = {}
        self._runtimes: Mapping[str, float] = {}
        self._looks_at = self._times_at = float("-inf")

    def of(self, job: Any) -> Place | None:
        """The place of a job, by its row in the database; None for one that does not wait."""
        if job.waits is None:
            return None
        starts_at = self._starts_at.get(job.id)
        return Place(self._line.place(job.tenant, job.priority, job.number), starts_at)

    def look(self, decision: Decision, running: Sequence[Running], cpus: int, sharing: Sharing) -> None:
        """Finds out anew, after a decision on a cluster of so many CPUs; not more often than is worth it."""
        began = self._monotonic()
        if began < self._looks_at:
            return
        in_use = sharing.in_use(running)
        waiting, reserved, served = self._queue.all_that_wait(cpus, sharing.most(cpus))
        self._line = Line.of(waiting, in_use, sharing, served, reserved)
        self._starts_at = self._estimated(decision, running, cpus - sum(has.cpus for has in in_use.values()))
        took_s = self._monotonic() - began
        self._looks_at = began + min(max(LOOKS_EVERY_S, took_s / AT_MOST), LOOKS_AT_LEAST_EVERY_S)

    def _estimated(self, decision: Decision, running: Sequence[Running], free: int) -> dict[str, str]:
        if not decision.waits:
            return {}
        runs = self._queue.running()
        tenants = {job.tenant for job in decision.waits} | {job.tenant for job in runs}
        moment, lasts_s = self._wall_clock(), self._lasts_s(tenants)
        stopping = {job.id for job in running if job.stopping} | decision.preempts.keys()
        ends = [
            Ends(job.workers, MAKES_ROOM_S if job.id in stopping else _remaining_s(job, moment, lasts_s))
            for job in runs
        ]
        found = starts_in(decision.waits, ends, free, lasts_s)
        return {job_id: later(moment, in_s) for job_id, in_s in found.items()}

    def _lasts_s(self, tenants: Collection[str]) -> Mapping[str, float]:
        if self._monotonic() >= self._times_at:
            self._runtimes = self._queue.runtimes_s(tenants)
            self._times_at = self._monotonic() + RUNTIMES_EVERY_S
        return self._runtimes


def _remaining_s(job: Any, moment: str, lasts_s: Mapping[str, float]) -> float | None:
    """What a running job says itself; else what is left of how long such jobs lasted of late."""
    told: float | None = job.progress["eta_s"]
    if told is not None or job.tenant not in lasts_s:
        return told
    return max(0.0, lasts_s[job.tenant] - seconds_between(job.started_at, moment))
