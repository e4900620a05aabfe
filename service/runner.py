"""Follows each running attempt: launches it, writes what it tells into the store, and moves the job when it ends."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

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
    """One attempt at a job, on so many CPUs."""

    job_id: str
    number: int
    workers: int


Decide = Callable[[Requested], Move]


class Runner:
    """One attempt, in a thread of its own. `on_end` is called when its CPUs are free again, and before that
    `on_terminal` with the job's id and state if nothing can move the job any more."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        attempt: Attempt,
        job_of: Callable[[Attempt], TrainingJob],
        on_end: Callable[["Runner"], None],
        on_terminal: Callable[[str, JobState], None],
    ) -> None:
        self.attempt = attempt
        self.not_placed = False
        """Whether the cluster had no place for it."""
        self._store, self._cluster, self._job_of, self._on_end = store, cluster, job_of, on_end
        self._on_terminal = on_terminal
        self._lock = threading.Lock()
        self._running: RunningJob | None = None
        self._stop: StopRequest | None = None
        self._in_trouble = False
        self._abandoned = threading.Event()
        # A daemon: a cluster that no longer answers must not keep the service from ending.
        self.thread = threading.Thread(target=self._run, name=f"runner-{attempt.job_id}", daemon=True)

    def request(self, stop: StopRequest) -> None:
        """Asks the attempt to stop, now or as soon as it is launched; a cancel is stronger than a pause."""
        with self._lock:
            if self._stop != "cancel":
                self._stop = stop
            running = self._running
        if running is not None:
            running.request(stop)

    def abandon(self) -> None:
        """The service ends: the attempt is closed without waiting for its last word."""
        self._abandoned.set()

    def _run(self) -> None:
        """The job moves only when the attempt is closed: the next one may start at once, in the same folder."""
        lost: AttemptLost | None = None
        try:
            ended = self._follow()
        except AttemptLost as error:
            log.warning("attempt %d of %s was lost", self.attempt.number, self.attempt.job_id, exc_info=True)
            lost, self.not_placed = error, isinstance(error, NotPlaced)
        except Exception as error:  # whatever it was, the job must not hang in `running`
            log.exception("following attempt %d of %s failed", self.attempt.number, self.attempt.job_id)
            lost = AttemptLost(f"the service could not follow the attempt ({type(error).__name__})")
        try:
            if self._running is not None:
                self._running.close()
        except Exception:
            log.exception("attempt %d of %s could not be closed", self.attempt.number, self.attempt.job_id)
        try:
            self._until_written(lambda: self._move(*(self._lost(lost) if lost else ended)))
        except Exception:  # at the next start the job is found running, and queued
            log.exception("the end of attempt %d of %s was not written", self.attempt.number, self.attempt.job_id)
        self._on_end(self)

    def _until_written(self, write: Callable[[], None]) -> None:
        """Writes into the store, again and again while the database is away, until the service stops."""
        while True:
            try:
                write()
            except (SQLAlchemyError, Unavailable):
                log.warning("the end of %s is not written: the database is away", self.attempt.job_id, exc_info=True)
                if self._abandoned.wait(TRY_AGAIN_S):
                    raise
            else:
                return

    def _follow(self) -> tuple[Decide, dict[str, Any]]:
        """Launches the attempt and takes in what it tells; returns what its end means, and columns to set along."""
        running = self._cluster.launch(self._job_of(self.attempt))
        with self._lock:
            self._running = running
            stop = self._stop
        if stop is None:  # a request may have come before there was a runner to tell
            asked = self._store.get(self.attempt.job_id).requested
            stop = "cancel" if asked == "cancel" else "pause" if asked in ("pause", "resume") else None
        if stop is not None:
            self.request(stop)
        last = 0
        while not self._abandoned.is_set():
            reports = running.reports(last, WAIT_S)
            if reports:
                last = reports[-1].number
                self._take_in(reports)
                if reports[-1].type == "ended":
                    return _end_of(finite(reports[-1].data))
        return lambda requested: after_interruption(requested, STOPPED), {}

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
                if self._in_trouble:
                    self._in_trouble, values["reason"] = False, None
            elif report.type == "trouble":
                self._in_trouble, values["reason"] = True, data["reason"]
                told.append(Told.still_running(data["reason"], self.attempt.number))
        if (told or values) and not self._store.record(self.attempt.job_id, self.attempt.number, told, **values):
            raise AttemptLost("the job has been moved on by somebody else")

    def _lost(self, loss: AttemptLost) -> tuple[Decide, dict[str, Any]]:
        losses = self._store.get(self.attempt.job_id).losses + (0 if self.not_placed else 1)
        return lambda requested: after_attempt_lost(loss, requested, losses), {"losses": losses}

    def _move(self, decide: Decide, values: dict[str, Any]) -> None:
        job_id, number = self.attempt.job_id, self.attempt.number
        job = self._store.move(job_id, number, JobState.RUNNING, decide, **values)
        if job is None:
            log.warning("%s is no longer running at attempt %d; its end is not taken in", job_id, number)
        elif JobState(job.state).is_terminal:
            self._on_terminal(job_id, JobState(job.state))


def _end_of(data: dict[str, Any]) -> tuple[Decide, dict[str, Any]]:
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
        on_terminal: Callable[[str, JobState], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._cluster, self._job_of, self._on_end = store, cluster, job_of, on_end
        self._on_terminal, self._clock = on_terminal, clock
        self._changed = threading.Condition()
        self._runners: list[Runner] = []
        self._place_again_at: dict[str, float] = {}  # by job, of those that found no place

    def launch(self, attempt: Attempt) -> None:
        """Starts to run and follow an attempt."""
        runner = Runner(self._store, self._cluster, attempt, self._job_of, self._ended, self._on_terminal)
        with self._changed:
            self._runners.append(runner)
        runner.thread.start()

    def cpus_in_use(self) -> int:
        """CPUs of all attempts that have not been closed."""
        with self._changed:
            return sum(runner.attempt.workers for runner in self._runners)

    def not_placed(self) -> frozenset[str]:
        """Jobs for which the cluster had no place just now, so that it makes no sense to try them again yet."""
        with self._changed:
            now = self._clock()
            self._place_again_at = {job_id: at for job_id, at in self._place_again_at.items() if at > now}
            ending = {runner.attempt.job_id for runner in self._runners if runner.not_placed}
            return frozenset(ending | self._place_again_at.keys())

    def request(self, job_id: str, stop: StopRequest) -> None:
        """Passes a user's request on, if the job has a runner; a runner that is launched later looks for it itself."""
        with self._changed:
            runners = [runner for runner in self._runners if runner.attempt.job_id == job_id]
        for runner in runners:
            runner.request(stop)

    def stop(self, within_s: float) -> None:
        """Asks every attempt to pause, gives them `within_s` to write a checkpoint, and ends those that took longer."""
        with self._changed:
            runners = list(self._runners)
        for runner in runners:
            runner.request("pause")
        with self._changed:
            self._changed.wait_for(lambda: not self._runners, within_s)
            runners = list(self._runners)
        for runner in runners:
            runner.abandon()
        for runner in runners:
            runner.thread.join(2 * WAIT_S)

    def _ended(self, runner: Runner) -> None:
        with self._changed:
            self._runners.remove(runner)
            if runner.not_placed:
                self._place_again_at[runner.attempt.job_id] = self._clock() + PLACE_AGAIN_AFTER_S
            self._changed.notify_all()
        self._on_end()
