"""Follows each running attempt: launches it, writes what it tells into the store, and moves the job when it ends."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from service.database import AWAY, reason_of
from service.jobs import JobState, Move, Requested, after_attempt_lost, after_end, after_interruption
from service.store import Store, Told
from shared.errors import Unavailable
from workers.job import AttemptLost, Cluster, NotPlaced, Report, RunningJob, StopRequest, TrainingJob

__all__ = ["Attempt", "Runner", "Runners"]

TRY_AGAIN_S = 2.0
PLACE_AGAIN_AFTER_S = 30.0  # what other programs hold of the cluster, they mostly hold for a while
WAIT_S = 1.0  # for the next report; a runner that is to stop looks up as often

STOPPED = "the service stopped; resumes from its checkpoint at the next start"

log = logging.getLogger("chainrule")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job, on so many CPUs. Only at its epoch may it write."""

    job_id: str
    number: int
    workers: int
    epoch: int


Decide = Callable[[Requested], Move]
End = tuple[Decide, dict[str, Any]]
"""What the end of an attempt means, and columns of the job to set along."""
T = TypeVar("T")


class Runner:
    """One attempt, in a thread of its own: to be launched, or `running` already. `on_end` is called when its CPUs are
    free again, and before that `on_terminal` with the job's id if nothing can move the job any more."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        attempt: Attempt,
        job_of: Callable[[Attempt], TrainingJob],
        on_end: Callable[["Runner"], None],
        on_terminal: Callable[[str], None],
        leased_at: float,
        running: RunningJob | None = None,
    ) -> None:
        self.attempt = attempt
        self.not_placed = False
        """Whether the cluster had no place for it."""
        self.renewed_at = leased_at
        """When its lease was last given or renewed, by the clock of this process."""
        self._store, self._cluster, self._job_of, self._on_end = store, cluster, job_of, on_end
        self._on_terminal = on_terminal
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._running = running
        self._stop: StopRequest | None = None
        self._why = STOPPED
        self._abandoned = threading.Event()
        self._leaving = threading.Event()
        # A daemon: a cluster that no longer answers must not keep the service from ending.
        self.thread = threading.Thread(target=self._run, name=f"runner-{attempt.job_id}", daemon=True)

    def request(self, stop: StopRequest) -> None:
        """Asks the attempt to stop, now or as soon as it is launched; a cancel is stronger than a pause.
        Repeating is harmless."""
        with self._lock:
            if self._stop in (stop, "cancel"):
                return
            self._stop = stop
            running = self._running
        if running is not None:
            running.request(stop)

    def abandon(self, why: str) -> None:
        """The attempt is closed at once, without waiting for its last word. Repeating is harmless."""
        with self._lock:
            if self._abandoned.is_set():
                return
            self._why = why
            self._abandoned.set()
        # In a thread: whoever calls has others to close, and our own may be waiting for an answer that does not come.
        threading.Thread(target=self._close, name=f"closing-{self.attempt.job_id}", daemon=True).start()

    def leave(self) -> None:
        """The service ends: the attempt is closed, and what cannot be written now is not."""
        self._leaving.set()
        self.abandon(STOPPED)

    def _run(self) -> None:
        """The job moves only when the attempt is closed: the next one may start at once, in the same folder."""
        try:
            end = self._follow()
        except Exception as error:  # noqa: BLE001  (whatever it was, the job must not hang in `running`)
            end = self._end_by(error)
        self._close()
        try:
            self._insist(lambda: self._move(*end()), self._leaving)
        except Exception:  # nobody renews its lease any more, so the job is taken over, or queued at the next start
            log.exception("the end of attempt %d of %s was not written", self.attempt.number, self.attempt.job_id)
        self._on_end(self)

    def _close(self) -> None:
        with self._closing:
            try:
                if self._running is not None:
                    self._running.close()
            except Exception:
                log.exception("attempt %d of %s could not be closed", self.attempt.number, self.attempt.job_id)

    def _insist(self, use: Callable[[], T], give_up: threading.Event) -> T:
        """What a use of the database returns; tried again and again while that is away, until `give_up`."""
        away = False
        while True:
            try:
                return use()
            except (*AWAY, Unavailable) as error:
                if give_up.is_set():
                    raise
                if not away:
                    log.warning("%s waits until the database is back: %s", self.attempt.job_id, reason_of(error))
                away = True
                give_up.wait(TRY_AGAIN_S)

    def _follow(self) -> Callable[[], End]:
        """Launches the attempt and takes in what it tells; returns what its end means.

        While the database is away the attempt trains on. Nothing more is read of it, and as what was read before is not
        acknowledged, it keeps all that it tells.
        """
        if self._running is None:
            job = self._insist(lambda: self._job_of(self.attempt), self._abandoned)
            running = self._cluster.launch(job)
        else:
            running = self._running
        with self._lock:
            self._running = running
            stop = self._stop
        if stop is not None:
            running.request(stop)
        last = 0
        while not self._abandoned.is_set():
            reports = running.reports(last, WAIT_S)
            if reports:
                self._insist(partial(self._take_in, reports), self._abandoned)
                last = reports[-1].number
                if reports[-1].type == "ended":
                    end = _end_of(finite(reports[-1].data))
                    return lambda: end
        return self._interrupted

    def _interrupted(self) -> End:
        return lambda requested: after_interruption(requested, self._why), {}

    def _end_by(self, error: Exception) -> Callable[[], End]:
        """What it means that following the attempt ended with `error`, which is no news when we closed it ourselves."""
        if self._abandoned.is_set():
            return self._interrupted
        if isinstance(error, AttemptLost):
            log.warning("attempt %d of %s was lost", self.attempt.number, self.attempt.job_id, exc_info=error)
            loss, self.not_placed = error, isinstance(error, NotPlaced)
        else:
            log.error("following attempt %d of %s failed", self.attempt.number, self.attempt.job_id, exc_info=error)
            loss = AttemptLost(f"the service could not follow the attempt ({type(error).__name__})")
        return lambda: self._lost(loss)

    def _take_in(self, reports: list[Report]) -> None:
        """Writes the reports, in one transaction."""
        told: list[Told] = []
        values: dict[str, Any] = {}
        for report in reports:
            data = finite(report.data)
            if report.type == "started":
                values["environment"] = data["environment"]
            elif report.type == "progress":
                values["progress"] = {key: value for key, value in data.items() if key != "metrics"}
                values["metrics"] = data.get("metrics", {})
                told.append(Told("progress", data))
            elif report.type == "metrics":
                told.append(Told("metrics", data, step=data["step"]))
            elif report.type == "checkpoint":
                values["losses"] = 0
        if (told or values) and not self._store.record(self.attempt.job_id, self.attempt.epoch, told, **values):
            raise AttemptLost("the job has been moved on by somebody else")

    def _lost(self, loss: AttemptLost) -> End:
        losses = self._store.get(self.attempt.job_id).losses + (0 if self.not_placed else 1)
        return lambda requested: after_attempt_lost(loss, requested, losses), {"losses": losses}

    def _move(self, decide: Decide, values: dict[str, Any]) -> None:
        job_id, number, epoch = self.attempt.job_id, self.attempt.number, self.attempt.epoch
        job = self._store.move(job_id, epoch, JobState.RUNNING, decide, **values)
        if job is None:
            log.warning("%s is no longer ours at attempt %d; its end is not taken in", job_id, number)
            job = self._store.get(job_id)  # which we may have ended ourselves, if the connection broke at the commit
        if JobState(job.state).is_terminal:
            self._on_terminal(job_id)


def _end_of(data: dict[str, Any]) -> End:
    names = ("parameters_sha256", "metrics", "progress")
    values = {name: data[name] for name in names if data.get(name) is not None}
    return lambda requested: after_end(data["outcome"], requested, data), values


def finite(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


class Runners:
    """All running attempts of this service."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        job_of: Callable[[Attempt], TrainingJob],
        on_end: Callable[[], None],
        on_terminal: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._cluster, self._job_of, self._on_end = store, cluster, job_of, on_end
        self._on_terminal, self._clock = on_terminal, clock
        self._changed = threading.Condition()
        self._runners: list[Runner] = []
        self._place_again_at: dict[str, float] = {}  # by job, of those that found no place

    def launch(self, attempt: Attempt, running: RunningJob | None = None) -> None:
        """Starts to follow an attempt: one to be launched, or one that is `running` already."""
        leased_at = self._clock()  # a moment ago
        runner = Runner(
            self._store, self._cluster, attempt, self._job_of, self._ended, self._on_terminal, leased_at, running
        )
        with self._changed:
            self._runners.append(runner)
        runner.thread.start()

    def find(self, attempt: Attempt) -> RunningJob | None:
        """The attempt, if its processes still run though nobody follows it."""
        return self._cluster.find(self._job_of(attempt))

    def now(self) -> list[Runner]:
        """All whose attempts have not been closed."""
        with self._changed:
            return list(self._runners)

    def cpus_in_use(self) -> int:
        """CPUs of all attempts that have not been closed, here and at other control planes."""
        here = [runner.attempt for runner in self.now()]
        elsewhere = self._store.owner.cpus_elsewhere([attempt.job_id for attempt in here])
        return elsewhere + sum(attempt.workers for attempt in here)

    def not_placed(self) -> frozenset[str]:
        """Jobs for which the cluster had no place just now, so that it makes no sense to try them again yet."""
        with self._changed:
            now = self._clock()
            self._place_again_at = {job_id: at for job_id, at in self._place_again_at.items() if at > now}
            ending = {runner.attempt.job_id for runner in self._runners if runner.not_placed}
            return frozenset(ending | self._place_again_at.keys())

    def request(self, job_id: str, stop: StopRequest) -> None:
        """Passes a user's request on at once, if the job runs here; the heartbeat would do so a little later."""
        for runner in self.now():
            if runner.attempt.job_id == job_id:
                runner.request(stop)

    def stop(self, within_s: float) -> None:
        """Asks every attempt to pause, gives them `within_s` to write a checkpoint, and ends those that took longer."""
        for runner in self.now():
            runner.request("pause")
        with self._changed:
            self._changed.wait_for(lambda: not self._runners, within_s)
            runners = list(self._runners)
        for runner in runners:
            runner.leave()
        for runner in runners:
            runner.thread.join(2 * WAIT_S)

    def _ended(self, runner: Runner) -> None:
        with self._changed:
            self._runners.remove(runner)
            if runner.not_placed:
                self._place_again_at[runner.attempt.job_id] = self._clock() + PLACE_AGAIN_AFTER_S
            self._changed.notify_all()
        self._on_end()
