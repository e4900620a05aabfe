"""A thread that gives CPUs to jobs, as `service.allocation` decides, whenever something has changed."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from service.allocation import Cpus, Decision, IdleCpus, Running, Waiting, decide
from service.clock import now, seconds_between
from service.database import AWAY
from service.fairness import Sharing
from service.jobs import JobState, Move, Requested, cpus_said
from service.places import Places
from service.queue import AT_MOST_TENANTS, FEWEST
from service.quota import Quota
from service.runner import Attempt, Runners
from service.store import JobRow, Store
from service.takeover import Takeover
from shared.errors import Unavailable
from workers.failures import LONGEST_BACK_OFF_S
from workers.job import Cluster

__all__ = ["LATE_AT_ONCE", "Outlook", "Scheduler"]

LATE_AT_ONCE = 200  # jobs that have waited too long, in one transaction
TICK_S = 2.0  # looks at the cluster anew even when nothing woke it: nodes come and go
SHARE, BURST_S = 0.1, 0.2  # of the time, for its passes: thousands of submits wake it as often; and what it may save up
TOGETHER_S = 1.0  # so long jobs wait for each other that can have nothing now: each only to be told why takes a pass
GROWS_AFTER_S = 3.0  # in which free CPUs were wanted by nobody

log = logging.getLogger("chainrule")

Decided = tuple[Decision, list[Running], int, Sharing]
"""What was decided, what runs now, on how many CPUs, and who shares them."""


def _always(move: Move, _requested: Requested) -> Move:
    return move


class Outlook(NamedTuple):
    """What a job that comes may hope for, as a pass left things."""

    free: int
    """CPUs that nobody holds."""
    lowest: float
    """The lowest priority of those that run."""
    at_limit: Collection[str]
    """Tenants that can have nothing more."""

    def has_nothing_for(self, tenant: str, priority: int) -> bool:
        """Whether a job cannot start and makes nobody give way, before something else has changed."""
        return tenant in self.at_limit or (self.free <= 0 and priority <= self.lowest)


class Share:
    """A share of the time, of which what was not used is saved up to a burst."""

    def __init__(self, share: float, burst_s: float) -> None:
        self._share, self._burst_s = share, burst_s
        self._spare_s, self._counted_at = burst_s, float("-inf")

    def rest_s(self, began: float, ended: float) -> float:
        """How long to rest after work between two moments: not at all while there is something spare."""
        passed_s = ended - max(self._counted_at, ended - self._burst_s / self._share)
        spare_s = min(self._burst_s, self._spare_s + passed_s * self._share) - (ended - began)
        self._spare_s = max(-self._burst_s, spare_s)  # what took long once is not to be made up for all at once
        self._counted_at = ended
        return max(0.0, -self._spare_s / self._share)


class Scheduler:
    """Decides, in a thread of its own once it is started; `step` is what that does again and again. Also takes over
    jobs whose owner is gone."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        runners: Runners,
        takeover: Takeover,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], str] = now,
        quotas: Callable[[], Mapping[str, Quota]] = dict,
        places: Places | None = None,
    ) -> None:
        self._store, self._cluster, self._runners, self._takeover = store, cluster, runners, takeover
        self._clock, self._wall_clock, self._quotas = clock, wall_clock, quotas
        self._places = places or Places(store.queue)
        self._idle = IdleCpus(GROWS_AFTER_S)
        self._share = Share(SHARE, BURST_S)
        self._outlook = Outlook(free=1, lowest=0, at_limit=())  # until something has been looked at
        self._changed = threading.Event()
        self._came: set[tuple[str, int]] = set()  # tenants and priorities of jobs that came since the last pass began
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something has changed: a job ended or was resumed, or holds fewer CPUs."""
        self._changed.set()

    def job_came(self, tenant: str, priority: int) -> None:
        """A new job waits. It is looked at at once, or soon, with others, where that can but tell it why it waits."""
        self._came.add((tenant, priority))  # before the outlook is looked at, which a pass may just be changing
        if not self._outlook.has_nothing_for(tenant, priority):
            self.wake()

    def stop(self) -> None:
        """Starts no further job; returns when the thread has ended."""
        self._stopping.set()
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            self._came = set()
            wait_s, began = TICK_S, time.monotonic()
            try:
                wait_s = min(wait_s, self.step())
                self._stopping.wait(self._share.rest_s(began, time.monotonic()))
            except AWAY:  # which the heartbeat tells; or another control plane is slow to give out CPUs
                self._stopping.wait(TICK_S)
                continue  # there may be jobs to take over from it
            except Exception:
                log.exception("the scheduler's pass failed; it is tried again in %g s", TICK_S)
                self._stopping.wait(TICK_S)
            self._wait(wait_s)

    def _wait(self, seconds: float) -> None:
        """Returns when something has changed, a little after a job came, or after so many seconds."""
        until = time.monotonic() + seconds
        if any(not self._outlook.has_nothing_for(*came) for came in tuple(self._came)):
            return  # it came during the pass, which may have found CPUs that were not free before
        while (left_s := until - time.monotonic()) > 0:
            if self._changed.wait(min(left_s, TOGETHER_S)) or self._came:
                return

    def step(self) -> float:
        """Takes over what is nobody's, ends what has waited too long, decides once, and has it done; tells after how
        many seconds to do so again."""
        self._takeover.look()
        total = self._cpus()
        with self._store.owner.scheduling() as keep_turn:
            late = self._store.end_late(LATE_AT_ONCE)
            wait_s, decided = (TICK_S, None) if total is None else self._pass(total, keep_turn)
        if decided is not None:  # for readers only: other control planes need not wait for it
            self._places.look(*decided)
        return 0.0 if len(late) == LATE_AT_ONCE else wait_s

    def _cpus(self) -> int | None:
        """Of the cluster, which is asked before it is our turn, as it may take its time; None where it does not answer,
        and all who wait are told."""
        try:
            return int(sum(node.cpus for node in self._cluster.nodes()))
        except Unavailable as error:
            rows = self._store.queue.head()
            self._tell(rows, {row.id: f"waits for the cluster: {error}" for row in rows})
            return None

    def _pass(self, total: int, keep_turn: Callable[[], object]) -> tuple[float, Decided]:
        sharing = Sharing(self._quotas())
        decision, rows, waiting, free = self._decided(total, sharing)
        self._act(decision, rows, keep_turn)
        self._idle.after(self._clock(), free - sum(decision.starts.values()))
        running = self._runners.running()
        lowest = min((job.priority for job in running if not job.stopping), default=float("inf"))
        left = total - sum(attempt.cpus for attempt in running)
        self._outlook = Outlook(left, lowest, sharing.at_limit(sharing.in_use(running)))
        wait_s = min((job.due_in_s for job in waiting if job.due_in_s > 0), default=TICK_S)
        if len(decision.starts) >= FEWEST:
            wait_s = 0.0  # there may be more, beyond those that were looked at
        return wait_s, (decision, running, total, sharing)

    def _decided(self, total: int, sharing: Sharing) -> tuple[Decision, Sequence[JobRow], Sequence[Waiting], int]:
        """A decision, the jobs that it is on, and the CPUs that are free. Of very many tenants it looks at more, while
        none of those that it has seen can have anything."""
        queue = self._store.queue
        most = sharing.most(total)
        too_large, running = [*queue.too_large(total, most)], self._runners.running()
        rows, seen = too_large, set[str]()
        last = sharing.at_limit(sharing.in_use(running))
        while True:
            found, before = queue.head(total, most, last=last, without=seen), running
            rows = [*rows, *found]
            running = self._runners.running()  # after the rows: a job that waits there runs no more
            if not {attempt.id for attempt in before} <= {attempt.id for attempt in running}:
                rows, seen = too_large, set()  # whose attempt has just ended may wait before these, and was not seen
                continue
            free = total - sum(attempt.cpus for attempt in running)
            waiting = [self._waiting(row) for row in rows]
            decision = decide(waiting, running, Cpus(total, free, self._idle.after(self._clock(), free)), sharing)
            new = {row.tenant for row in found}
            if decision.starts or decision.waits or new <= last or len(new) < AT_MOST_TENANTS:
                return decision, rows, waiting, free
            seen |= new

    def _waiting(self, row: JobRow) -> Waiting:
        due_in_s = 0.0 if row.retry_at is None else seconds_between(self._wall_clock(), row.retry_at)
        if due_in_s > LONGEST_BACK_OFF_S:  # nobody is sent away for so long: the clock was set back
            due_in_s = 0.0
        paused = row.state == JobState.PAUSED
        of_job = row.id, row.cpus_min, row.cpus_max, row.priority, paused, row.preempted_by
        return Waiting(*of_job, due_in_s, row.tenant, row.number, row.reserved_at, row.served_at)

    def _act(self, decision: Decision, rows: Sequence[JobRow], keep_turn: Callable[[], object]) -> None:
        """Room is made before jobs start, and all that starts fits beside all that grows."""
        keep_turn()
        for job_id, by in decision.preempts.items():
            log.info("%s is paused for the sake of %s", job_id, by, extra={"job_id": job_id})
            self._runners.preempt(job_id, by)
        for job_id, cpus in decision.resizes.items():
            log.info("%s is to go on on %s", job_id, cpus_said(cpus), extra={"job_id": job_id})
            self._runners.resize(job_id, cpus)
        for row in rows:
            if row.id in decision.starts and not self._stopping.is_set():
                keep_turn()
                self._start(row, decision.starts[row.id])
        if decision.reserves is not None:
            self._store.queue.reserve(decision.reserves, self._wall_clock())
        self._tell(rows, decision.reasons)

    def _start(self, row: JobRow, cpus: int) -> None:
        on = f"on {cpus_said(cpus)}"
        start = Move(JobState.RUNNING, f"started {on}" if row.state == JobState.QUEUED else f"resumed {on}")
        state = JobState(row.state)
        job = self._store.move(row.id, row.epoch, state, partial(_always, start), if_it_waits=True, workers=cpus)
        if job is not None:
            self._runners.launch(Attempt.at(job))

    def _tell(self, rows: Sequence[JobRow], reasons: Mapping[str, str]) -> None:
        """Writes only what has changed."""
        self._store.queue.tell(
            {row.id: reasons[row.id] for row in rows if row.id in reasons and row.reason != reasons[row.id]}
        )
