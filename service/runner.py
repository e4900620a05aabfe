"""Follows each running attempt: launches it, writes what it tells into the store, and moves the job when it ends."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from service.allocation import Running
from service.jobs import JobState, Move, Requested, after_attempt_lost, after_end, after_interruption, give_way
from service.store import Store, Told
from shared.errors import Unavailable
from workers.failures import Losses
from workers.job import AttemptLost, Cluster, Report, RunningJob, StopRequest, TrainingJob

__all__ = ["Attempt", "Runner", "Runners"]

TRY_AGAIN_S = 2.0
GROWS_WITHIN_S = 60.0  # else the CPUs that a growth has taken, and does not use, are taken back
WAIT_S = 1.0  # for the next report; a runner that is to stop looks up as often

STOPPED = "the service stopped; resumes from its checkpoint at the next start"

log = logging.getLogger("chainrule")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job, which begins on `workers` CPUs, and what the job says of who is to give way to whom."""

    job_id: str
    number: int
    workers: int
    cpus_min: int
    cpus_max: int
    priority: int
    age: int
    """The job's number in the order of submission."""


Decide = Callable[[Requested], Move]


class Runner:
    """Follows one attempt, step by step. `on_cpus` is called whenever it holds fewer CPUs than before, `on_end` when it
    holds none any more, and before that `on_terminal` with the job's id if nothing can move the job any more."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        attempt: Attempt,
        job_of: Callable[[Attempt], TrainingJob],
        on_cpus: Callable[[], None],
        on_end: Callable[["Runner"], None],
        on_terminal: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self.attempt = attempt
        self._store, self._cluster, self._job_of, self._on_end = store, cluster, job_of, on_end
        self._on_cpus, self._on_terminal, self._clock = on_cpus, on_terminal, clock
        self._lock = threading.Lock()
        self._running: RunningJob | None = None
        self._stop: StopRequest | None = None
        self._gives_way: Move | None = None
        self._ending = False
        self._workers = self._wanted = self._cpus = attempt.workers
        self._resized_at = clock()
        self._last_report = 0
        self._abandoned = threading.Event()
        # A daemon: a cluster that no longer answers must not keep the service from ending.
        self.thread = threading.Thread(target=self._run, name=f"runner-{attempt.job_id}", daemon=True)

    # ------------------------------------------------------------ what is asked of the attempt
    def request(self, stop: StopRequest) -> None:
        """Asks the attempt to stop, now or as soon as it is launched; a cancel is stronger than a pause."""
        with self._lock:
            if self._stop != "cancel":
                self._stop = stop
            running = self._running
        if running is not None:
            running.request(stop)

    def preempt(self, by: str) -> None:
        """Asks the attempt to pause for the sake of another job, named in words; the job resumes by itself."""
        self._gives_way = give_way(by, self.attempt.cpus_min)
        self.request("pause")

    def resize(self, workers: int) -> None:
        """Asks the attempt to compute on so many CPUs, now or as soon as it is launched. Those of a growth are its own
        from now on, those of a shrink until it has told that it is done."""
        with self._lock:
            self._wanted, self._cpus, self._resized_at = workers, max(self._cpus, workers), self._clock()
            running = self._running
        if running is not None:
            running.resize(workers)

    def abandon(self) -> None:
        """The service ends: the attempt is closed without waiting for its last word."""
        self._abandoned.set()

    def state(self) -> Running:
        """The attempt as it is now."""
        job = self.attempt
        with self._lock:
            return Running(
                job.job_id,
                job.cpus_min,
                job.cpus_max,
                job.priority,
                job.age,
                workers=self._workers,
                wanted=self._wanted,
                cpus=self._cpus,
                stopping=self._ending or self._stop is not None,
                overdue=self._workers < self._wanted and self._clock() > self._resized_at + GROWS_WITHIN_S,
            )

    # ------------------------------------------------------------ the attempt from its launch to its end
    def _run(self) -> None:
        while not self.step(WAIT_S):
            pass

    def step(self, wait_s: float) -> bool:
        """Launches the attempt, or takes in what it tells, waiting so long for that; tells whether it has ended.

        The job moves only when the attempt is closed: the next one may start at once, in the same folder.
        """
        try:
            if self._running is None:
                self._launch()
                return False
            end = self._listen(self._running, wait_s)
            if end is None:
                return False
            finish = partial(self._move, *end)
        except AttemptLost as error:
            log.warning("attempt %d of %s was lost", self.attempt.number, self.attempt.job_id, exc_info=True)
            finish = partial(self._move_lost, error)
        except Exception as error:  # whatever it was, the job must not hang in `running`
            log.exception("following attempt %d of %s failed", self.attempt.number, self.attempt.job_id)
            lost = AttemptLost(f"the service could not follow the attempt ({type(error).__name__})")
            finish = partial(self._move_lost, lost)
        self._ending = True
        try:
            if self._running is not None:
                self._running.close()
        except Exception:
            log.exception("attempt %d of %s could not be closed", self.attempt.number, self.attempt.job_id)
        try:
            self._until_written(finish)
        except Exception:  # at the next start the job is found running, and queued
            log.exception("the end of attempt %d of %s was not written", self.attempt.number, self.attempt.job_id)
        self._on_end(self)
        return True

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

    def _launch(self) -> None:
        """Launches the attempt, and passes on what was asked of it meanwhile."""
        running = self._cluster.launch(self._job_of(self.attempt))
        with self._lock:
            self._running = running
            stop, wanted = self._stop, self._wanted
        if stop is None:  # a request may have come before there was a runner to tell
            asked = self._store.get(self.attempt.job_id).requested
            stop = "cancel" if asked == "cancel" else "pause" if asked in ("pause", "resume") else None
        if stop is not None:
            self.request(stop)
        if wanted != self.attempt.workers:
            running.resize(wanted)

    def _listen(self, running: RunningJob, wait_s: float) -> tuple[Decide, dict[str, Any]] | None:
        """Takes in what the attempt tells; at its end, what that means, and columns to set along."""
        if self._abandoned.is_set():
            return lambda requested: after_interruption(requested, STOPPED), {}
        reports = running.reports(self._last_report, wait_s)
        if not reports:
            return None
        self._last_report = reports[-1].number
        self._take_in(reports)
        return self._end_of(finite(reports[-1].data)) if reports[-1].type == "ended" else None

    def _take_in(self, reports: list[Report]) -> None:
        """Writes the reports, in one transaction."""
        told: list[Told] = []
        values: dict[str, Any] = {}
        for report in reports:
            data = finite(report.data)
            if report.type == "started":
                values["environment"] = data["environment"]
                values["workers"] = data["workers"]
            elif report.type == "progress":
                values["progress"] = {key: value for key, value in data.items() if key != "metrics"}
                values["metrics"] = data.get("metrics", {})
                told.append(Told("progress", data))
            elif report.type == "metrics":
                told.append(Told("metrics", data, step=data["step"]))
            elif report.type == "workers":
                values["workers"] = data["workers"]
                told.append(Told("workers", data))
            elif report.type == "checkpoint":
                values["losses"] = 0
        if (told or values) and not self._store.record(self.attempt.job_id, self.attempt.number, told, **values):
            raise AttemptLost("the job has been moved on by somebody else")
        for report in reports:
            if report.type in ("started", "workers"):
                self._has_resized(report.data["workers"], report.data.get("cpus", 0))

    def _has_resized(self, workers: int, cpus: int) -> None:
        """The attempt computes with so many workers now, and holds so many CPUs, for whom it waits for among them."""
        with self._lock:
            self._workers, self._resized_at = workers, self._clock()
            before, self._cpus = self._cpus, max(cpus, self._wanted)
            freed = self._cpus < before
        if freed:
            self._on_cpus()

    def _end_of(self, data: dict[str, Any]) -> tuple[Decide, dict[str, Any]]:
        names = ("parameters_sha256", "metrics", "progress")
        values = {name: data[name] for name in names if data.get(name) is not None}
        return lambda requested: after_end(data["outcome"], requested, data, self._gives_way), values

    def _move_lost(self, loss: AttemptLost) -> None:
        job = self._store.get(self.attempt.job_id)
        losses = Losses(job.losses, job.out_of_memory).and_one_by(loss)
        values = {"losses": losses.without_progress, "out_of_memory": losses.out_of_memory}
        self._move(lambda requested: after_attempt_lost(loss, requested, losses), values)

    def _move(self, decide: Decide, values: dict[str, Any]) -> None:
        job_id, number = self.attempt.job_id, self.attempt.number
        job = self._store.move(job_id, number, JobState.RUNNING, decide, **values)
        if job is None:
            log.warning("%s is no longer running at attempt %d; its end is not taken in", job_id, number)
        elif JobState(job.state).is_terminal:
            self._on_terminal(job_id)


def finite(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


class Runners:
    """All running attempts of this service. `on_cpus` is called when one of them holds fewer CPUs than before; `start`
    has a runner's steps made, by default in a thread of its own."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        job_of: Callable[[Attempt], TrainingJob],
        on_cpus: Callable[[], None],
        on_terminal: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Runner], None] = lambda runner: runner.thread.start(),
    ) -> None:
        self._store, self._cluster, self._job_of, self._on_cpus = store, cluster, job_of, on_cpus
        self._on_terminal, self._clock, self._start = on_terminal, clock, start
        self._changed = threading.Condition()
        self._runners: list[Runner] = []

    def launch(self, attempt: Attempt) -> None:
        """Starts to run and follow an attempt."""
        runner = Runner(
            self._store,
            self._cluster,
            attempt,
            self._job_of,
            self._on_cpus,
            self._ended,
            self._on_terminal,
            self._clock,
        )
        with self._changed:
            self._runners.append(runner)
        self._start(runner)

    def running(self) -> list[Running]:
        """All attempts that have not been closed."""
        with self._changed:
            return [runner.state() for runner in self._runners]

    def cpus_in_use(self) -> int:
        """CPUs of all attempts that have not been closed."""
        return sum(attempt.cpus for attempt in self.running())

    def request(self, job_id: str, stop: StopRequest) -> None:
        """Passes a user's request on, if the job has a runner; a runner that is launched later looks for it itself."""
        for runner in self._of(job_id):
            runner.request(stop)

    def preempt(self, job_id: str, by: str) -> None:
        """Has a job pause for the sake of another, named in words, and resume by itself."""
        for runner in self._of(job_id):
            runner.preempt(by)

    def resize(self, job_id: str, workers: int) -> None:
        """Has a job compute on so many CPUs."""
        for runner in self._of(job_id):
            runner.resize(workers)

    def _of(self, job_id: str) -> list[Runner]:
        with self._changed:
            return [runner for runner in self._runners if runner.attempt.job_id == job_id]

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
            self._changed.notify_all()
        self._on_cpus()
