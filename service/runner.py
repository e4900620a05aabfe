"""Follows each running attempt: launches it, writes what it tells into the store, and moves the job when it ends."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from service.allocation import Running
from service.database import AWAY, reason_of
from service.jobs import JobState, Move, Requested, after_attempt_lost, after_end, after_interruption, give_way
from service.log import about
from service.reports import finite, meaning_of
from service.store import JobRow, Store
from service.telemetry import Telemetry
from shared.errors import Unavailable
from workers.failures import NO_ROOM, Losses, pauses_because
from workers.job import (
    AttemptLost,
    Cluster,
    InternalError,
    NotPlaced,
    OutOfMemory,
    Report,
    RunningJob,
    Sought,
    StopRequest,
    TrainingJob,
)

__all__ = ["TAKEN", "Attempt", "Runner", "Runners"]

TRY_AGAIN_S = 2.0
RESIZES_WITHIN_S = 60.0  # else CPUs that it does not use are taken back, and it is paused where it was to give some
WAIT_S = 1.0  # for the next report; a runner that is to stop looks up as often

TAKEN = "another control plane has taken the job over"
UNKNOWN = "the service could not find out whether the job is still its own"
STOPPED = "the service stopped; resumes from its checkpoint at the next start"

log = logging.getLogger("chainrule")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job, which computes on `workers` CPUs and is to do so on `wanted`, and what the job says of who
    is to give way to whom. Only at its epoch may it write."""

    job_id: str
    number: int
    workers: int
    wanted: int
    epoch: int
    cpus_min: int
    cpus_max: int
    priority: int
    age: int
    """The job's number in the order of submission."""
    tenant: str
    last_report: int = 0
    """What it told up to that number has been taken in."""

    @classmethod
    def at(cls, job: JobRow) -> "Attempt":
        """The attempt that a job is at."""
        of_job = job.cpus_min, job.cpus_max, job.priority, job.number, job.tenant
        return cls(job.id, job.attempt, job.workers, job.cpus_wanted, job.epoch, *of_job, job.last_report)

    @property
    def for_log(self) -> dict[str, Any]:
        """What the service's log says of it."""
        return {"job_id": self.job_id, "attempt": self.number, "tenant": self.tenant or None}


Decide = Callable[[Requested], Move]
End = tuple[Decide, dict[str, Any]]
"""What the end of an attempt means, and columns of the job to set along."""
T = TypeVar("T")
ENDED_AS = {
    OutOfMemory: "out_of_memory",
    InternalError: "internal_error",
    NotPlaced: "not_placed",
    AttemptLost: "lost",
}
"""What the telemetry calls a loss; the first that fits, so children before parents."""


class Runner:
    """Follows one attempt, step by step: one to be launched, or one that was `found`. `on_cpus` is called whenever it
    holds fewer CPUs than before, `on_end` when it holds none any more, and before that `on_terminal` with the job's id
    and state if nothing can move the job any more. `refuse` has what may be left of it work no more."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        attempt: Attempt,
        job_of: Callable[[Attempt], TrainingJob],
        on_cpus: Callable[[], None],
        on_end: Callable[["Runner"], None],
        on_terminal: Callable[[str, JobState], None],
        clock: Callable[[], float],
        telemetry: Telemetry,
        refuse: Callable[[str, int], None],
        found: RunningJob | None = None,
    ) -> None:
        self.attempt = attempt
        self.samples_per_s = 0.0
        """Rows that it trained on a second, when it last told."""
        self.renewed_at = clock()
        """When its lease was last given or renewed, by the clock of this process."""
        self._store, self._cluster, self._job_of, self._on_end = store, cluster, job_of, on_end
        self._on_cpus, self._on_terminal, self._clock = on_cpus, on_terminal, clock
        self._telemetry, self._ended_as = telemetry, "interrupted"  # the latter: a word of ATTEMPT_ENDS
        self._members: set[int] = set()  # the numbers of its workers
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._refuse, self._found = refuse, found
        self._running: RunningJob | None = None
        self._left: bool | None = None  # whether the attempt goes on without us; None until it is closed or left
        self._stop: StopRequest | None = None
        self._told: StopRequest | None = None
        # To be passed on. Of one that was found only whoever had it before knows what it was told last.
        self._resizes = deque([] if found is None else [attempt.wanted])
        self._gives_way: Move | None = None
        self._ending = False
        self._workers, self._wanted = attempt.workers, attempt.wanted
        self._cpus = max(attempt.workers, attempt.wanted)
        self._differs_since = clock()  # since when it was to compute on more or fewer, while it does
        self._last_report = attempt.last_report
        self._why = STOPPED
        self._abandoned = threading.Event()
        self._leaving = threading.Event()
        # A daemon: a cluster that no longer answers must not keep the service from ending.
        self.thread = threading.Thread(target=self._run, name=f"runner-{attempt.job_id}", daemon=True)

    # ------------------------------------------------------------ what is asked of the attempt
    def request(self, stop: StopRequest) -> None:
        """Has the attempt stop; a cancel is stronger than a pause. Like all that is asked of it, that is passed on with
        the next step: to tell it may take long, or fail, and whoever asks has leases to keep. Repeating is harmless."""
        with self._lock:
            if self._stop != "cancel":
                self._stop = stop

    def tell(self) -> None:
        """Has the attempt know at once that it is to stop. If it does not run yet, or that fails, it is told later."""
        with self._lock:
            running, stop, told = self._running, self._stop, self._told
            if running is None or stop is None or stop == told:
                return
            self._told = stop
        try:
            running.request(stop)
        except Exception:
            log.exception("%s could not be told to %s; it is tried again", self.attempt.job_id, stop)
            with self._lock:
                self._told = told

    def preempt(self, by: str) -> None:
        """Has the attempt pause for the sake of another job, named in words; the job resumes by itself."""
        self._gives_way = give_way(by, self.attempt.cpus_min)
        self.request("pause")

    def resize(self, workers: int) -> None:
        """Has the attempt compute on so many CPUs. Those of a growth are its own from now on, those of a shrink until
        it has told that it is done."""
        with self._lock:
            self._wanted, self._cpus, self._differs_since = workers, max(self._cpus, workers), self._clock()
            self._resizes.append(workers)

    def abandon(self, why: str) -> None:
        """Follows the attempt no longer, without waiting for its last word. Where the cluster keeps attempts, it goes
        on for whoever finds it; elsewhere it is closed. Repeating is harmless."""
        with self._lock:
            if self._abandoned.is_set():
                return
            self._why = why
            self._abandoned.set()
        # In a thread: whoever calls has others to close, and our own may be waiting for an answer that does not come.
        threading.Thread(target=self._close, name=f"closing-{self.attempt.job_id}", daemon=True).start()

    def leave(self) -> None:
        """The service ends: the attempt is abandoned, and what cannot be written now is not."""
        self._leaving.set()
        self.abandon(STOPPED)

    @property
    def wanted(self) -> int:
        """How many CPUs it was asked, last, to compute on."""
        return self._wanted

    def state(self) -> Running:
        """The attempt as it is now."""
        job = self.attempt
        least, most = (job.cpus_min, job.cpus_max) if self._cluster.is_elastic else (job.workers, job.workers)
        with self._lock:
            return Running(
                job.job_id,
                least,
                most,
                job.priority,
                job.age,
                workers=self._workers,
                wanted=self._wanted,
                cpus=self._cpus,
                stopping=self._ending or self._stop is not None,
                overdue=self._workers != self._wanted and self._clock() > self._differs_since + RESIZES_WITHIN_S,
                tenant=job.tenant,
            )

    # ------------------------------------------------------------ the attempt from its launch to its end
    def _run(self) -> None:
        with about(**self.attempt.for_log):
            while not self.step(WAIT_S):
                pass

    def step(self, wait_s: float) -> bool:
        """Launches the attempt, or takes in what it tells, waiting so long for that; tells whether it has ended."""
        try:
            ended = self._step(wait_s)
        except Exception:  # nobody renews its lease any more, so the job is taken over, or queued at the next start
            log.exception("attempt %d of %s is followed no longer", self.attempt.number, self.attempt.job_id)
            self._abandoned.set()
            self._close()
            ended = True
        if ended:
            self._on_end(self)
        return ended

    def _step(self, wait_s: float) -> bool:
        """The job moves only when the attempt is closed: the next one may start at once, in the same folder."""
        try:
            if self._running is None:
                self._launch()
                return False
            end = self._listen(self._running, wait_s)
            if end is None:
                return False
        except Exception as error:  # noqa: BLE001  (whatever it was, the job must not hang in `running`)
            end = self._end_by(error)
        self._ending = True
        self._close()
        try:
            self._insist(lambda: self._write_end(end), self._leaving)
        except Exception:  # as above
            log.exception("the end of attempt %d of %s was not written", self.attempt.number, self.attempt.job_id)
        return True

    def _close(self) -> None:
        """Ends the attempt, or leaves it where it was abandoned and can go on without us: which of both is decided when
        it is first closed, and not again when its end is written, which may be long after."""
        with self._closing, about(**self.attempt.for_log):
            running = self._running
            if running is None and self._leaving.is_set() and self._cluster.keeps_attempts and not self._ending:
                return  # it is being launched: the next start finds it, or refuses it
            if running is not None and self._left is None:
                self._left = self._abandoned.is_set() and self._cluster.keeps_attempts
            try:
                if running is not None and self._left:
                    running.leave()
                else:
                    if running is not None:
                        running.close()
                    self._refuse(self.attempt.job_id, self.attempt.epoch)
            except Exception:
                log.exception("attempt %d of %s could not be closed", self.attempt.number, self.attempt.job_id)

    def _write_end(self, end: Callable[[], End]) -> None:
        if self._left:
            self._store.owner.give_back(self.attempt.job_id, self.attempt.epoch)
        else:
            job = self._move(*end())
            goes_on = job.state == JobState.QUEUED and self._ended_as in ENDED_AS.values()
            self._telemetry.attempt_ended(self._ended_as, goes_on=goes_on)

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

    def _launch(self) -> None:
        """Launches the attempt, if it does not run yet, and passes on what was asked of it meanwhile."""
        running = self._found
        if running is None:
            running = self._cluster.launch(self._insist(lambda: self._job_of(self.attempt), self._abandoned))
            if self._abandoned.is_set() and self._why != STOPPED:
                running.close()  # who has the job now looked for this attempt before it was there, and starts another
        with self._lock:
            self._running = running
            stop = self._stop
        if stop is None:  # a request may have come before there was a runner to tell
            job = self._insist(lambda: self._store.any_job(self.attempt.job_id), self._abandoned)
            if job.requested is not None:
                self.request("cancel" if job.requested == "cancel" else "pause")
            elif job.preempted_by is not None:
                self.preempt(job.preempted_by)
        self._pass_on(running)

    def _pass_on(self, running: RunningJob) -> None:
        """Tells the attempt what was asked of it and has not reached it."""
        self.tell()
        try:
            while self._resizes:  # one by one: each is answered, by which alone it is known what the attempt holds
                running.resize(self._resizes[0])
                self._resizes.popleft()
        except Exception:
            log.exception("%s could not be told on how many CPUs to go on; it is tried again", self.attempt.job_id)

    def _listen(self, running: RunningJob, wait_s: float) -> Callable[[], End] | None:
        """Takes in what the attempt tells; at its end, what that means.

        While the database is away the attempt trains on. Nothing more is read of it, and as what was read before is not
        acknowledged, it keeps all that it tells.
        """
        if self._abandoned.is_set():
            return self._interrupted
        self._pass_on(running)
        reports = running.reports(self._last_report, wait_s)
        if not reports:
            return None
        self._insist(partial(self._take_in, reports), self._abandoned)
        self._last_report = reports[-1].number
        if reports[-1].type != "ended":
            return None
        self._ended_as = reports[-1].data["outcome"]
        end = self._end_of(finite(reports[-1].data))
        return lambda: end

    def _interrupted(self) -> End:
        return lambda requested: after_interruption(requested, self._why), {}

    def _end_by(self, error: Exception) -> Callable[[], End]:
        """What it means that following the attempt ended with `error`, which is no news when we closed it ourselves."""
        self._see_whose_it_is()
        if self._abandoned.is_set():
            return self._interrupted
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            self._ended_as = "paused"
            end = self._end_of({"outcome": "paused", "reason": pauses_because("its folder cannot be made", error)})
            return lambda: end
        if isinstance(error, AttemptLost):
            log.warning("attempt %d of %s was lost", self.attempt.number, self.attempt.job_id, exc_info=error)
            loss = error
        else:
            log.error("following attempt %d of %s failed", self.attempt.number, self.attempt.job_id, exc_info=error)
            loss = AttemptLost(f"the service could not follow the attempt ({type(error).__name__})")
        self._ended_as = next((end for kind, end in ENDED_AS.items() if isinstance(loss, kind)), "lost")
        return lambda: self._lost(loss)

    def _see_whose_it_is(self) -> None:
        """Before an attempt is closed that others could follow, for it is silent perhaps because we were cut off from
        all, the database too, and it has been taken over meanwhile. Else nobody takes it now."""
        if self._abandoned.is_set() or not self._cluster.keeps_attempts:
            return
        held = [(self.attempt.job_id, self.attempt.epoch)]
        try:
            is_ours = bool(self._insist(lambda: self._store.owner.renew(held)[0], self._abandoned))
        except (*AWAY, Unavailable):  # abandoned while it was away
            return
        except Exception:  # it may be another one's by now, and goes on for whoever takes it when the lease is over
            log.exception("whose attempt %d of %s is, is not known", self.attempt.number, self.attempt.job_id)
            self.abandon(UNKNOWN)
            return
        if not is_ours:
            self.abandon(TAKEN)

    def _take_in(self, reports: list[Report]) -> None:
        """Writes the reports, in one transaction."""
        meaning = meaning_of(reports, self.attempt.number, self._addresses(reports))
        if not self._store.record(self.attempt.job_id, self.attempt.epoch, meaning.told, **meaning.values):
            self.abandon(TAKEN)  # and whoever has it now may be following the very attempt that we do
            raise AttemptLost(TAKEN)
        for report in reports:
            self._count(report)
            if report.type in ("started", "workers"):
                self._has_resized(report.data["workers"], report.data.get("cpus", 0))

    def _addresses(self, reports: list[Report]) -> dict[str, str]:
        """Where the nodes are, by id, if that is to be told."""
        if not any(report.data.get("nodes") for report in reports):
            return {}
        try:
            return {node.id: node.address for node in self._cluster.nodes()}
        except Unavailable:
            return {}

    def _count(self, report: Report) -> None:
        """Adds what the attempt tells to the telemetry."""
        members, trained = set(report.data.get("members", ())), report.data.get("trained")
        if report.type == "workers":
            lost = len(self._members - members) if report.data.get("lost") else 0
            joined = len(members - self._members) if self._members else 0
            self._telemetry.workers_changed(lost=lost, joined=joined)
        if members:
            self._members = members
        if trained is not None and trained["steps"]:
            self._telemetry.trained(**trained)
            self.samples_per_s = trained["samples"] / max(trained["seconds"], 1e-9)

    def _has_resized(self, workers: int, cpus: int) -> None:
        """The attempt computes with so many workers now, and holds so many CPUs, for whom it waits for among them."""
        with self._lock:
            if self._workers == self._wanted:  # else workers that come and go would never be too late
                self._differs_since = self._clock()
            self._workers = workers
            before, self._cpus = self._cpus, max(cpus, self._wanted)
            freed = self._cpus < before
        if freed:
            self._on_cpus()

    def _end_of(self, data: dict[str, Any]) -> End:
        names = ("parameters_sha256", "metrics", "progress")
        values = {name: data[name] for name in names if data.get(name) is not None}
        return lambda requested: after_end(data["outcome"], requested, data, self._gives_way), values

    def _lost(self, loss: AttemptLost) -> End:
        job = self._store.any_job(self.attempt.job_id)
        losses = Losses(job.losses, job.internal_errors, job.out_of_memory).and_one_by(loss)
        values = {
            "losses": losses.without_progress,
            "internal_errors": losses.internal_errors,
            "out_of_memory": losses.out_of_memory,
        }
        return lambda requested: after_attempt_lost(loss, requested, losses), values

    def _move(self, decide: Decide, values: dict[str, Any]) -> JobRow:
        """The job, after it."""
        job_id, number, epoch = self.attempt.job_id, self.attempt.number, self.attempt.epoch
        job = self._store.move(job_id, epoch, JobState.RUNNING, decide, **values)
        if job is None:
            log.warning("%s is no longer ours at attempt %d; its end is not taken in", job_id, number)
            job = self._store.any_job(job_id)  # we may have ended it ourselves, if the connection broke at the commit
        if JobState(job.state).is_terminal:
            self._on_terminal(job_id, JobState(job.state))
        return job


class Runners:
    """All running attempts of this service. `on_cpus` is called when one of them holds fewer CPUs than before; `start`
    has a runner's steps made, by default in a thread of its own."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        job_of: Callable[[Attempt], TrainingJob],
        on_cpus: Callable[[], None],
        on_terminal: Callable[[str, JobState], None],
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Runner], None] = lambda runner: runner.thread.start(),
        telemetry: Telemetry | None = None,
        refuse: Callable[[str, int], None] = lambda job_id, epoch: None,
    ) -> None:
        self.telemetry = telemetry or Telemetry()
        self._refuse = refuse
        self._store, self._cluster, self._job_of, self._on_cpus = store, cluster, job_of, on_cpus
        self._on_terminal, self._clock, self._start = on_terminal, clock, start
        self._changed = threading.Condition()
        self._runners: list[Runner] = []

    def launch(self, attempt: Attempt, found: RunningJob | None = None) -> None:
        """Starts to follow an attempt: one to be launched, or one that was `found` running."""
        runner = Runner(
            self._store,
            self._cluster,
            attempt,
            self._job_of,
            self._on_cpus,
            self._ended,
            self._on_terminal,
            self._clock,
            self.telemetry,
            self._refuse,
            found,
        )
        with self._changed:
            self._runners.append(runner)
        try:
            self._start(runner)
        except RuntimeError:  # there can be no other thread: once its lease is over, the attempt is looked for again
            with self._changed:
                self._runners.remove(runner)
            raise

    def find(self, attempts: Sequence[Attempt]) -> Mapping[str, RunningJob]:
        """Those whose processes still run though nobody follows them, by job."""
        return self._cluster.find([Sought(each.job_id, each.number, each.epoch) for each in attempts])

    def refuse(self, attempt: Attempt) -> None:
        """Has one that was not found work no more, wherever its processes may still run."""
        self._refuse(attempt.job_id, attempt.epoch)

    def now(self) -> list[Runner]:
        """All whose attempts have not been closed."""
        with self._changed:
            return list(self._runners)

    def running(self) -> list[Running]:
        """All attempts that hold CPUs, here and at other control planes, as the database has them: so all of these
        decide by the same. How long its attempts have been asked for something, each knows of its own alone."""
        here = {runner.attempt.job_id: runner for runner in self.now()}
        found = [self._running(row, here.pop(row.id, None)) for row in self._store.queue.running()]
        return found + [runner.state() for runner in here.values()]  # the latter are just being closed

    def _running(self, row: JobRow, runner: Runner | None) -> Running:
        known = runner.state() if runner is not None and runner.attempt.epoch == row.epoch else None
        least, most = (row.cpus_min, row.cpus_max) if self._cluster.is_elastic else (row.workers, row.workers)
        return Running(
            row.id,
            least,
            most,
            row.priority,
            row.number,
            workers=row.workers,
            wanted=row.cpus_wanted,
            cpus=row.cpus_held,
            stopping=any((row.requested, row.preempted_by, known is not None and known.stopping)),
            overdue=known is not None and known.overdue and known.wanted == row.cpus_wanted,
            tenant=row.tenant,
        )

    def cpus_in_use(self) -> int:
        """CPUs of all attempts that have not been closed, here and at other control planes."""
        return sum(attempt.cpus for attempt in self.running())

    def request(self, job_id: str, stop: StopRequest) -> None:
        """Passes a user's request on at once, if the job runs here; the heartbeat would do so a little later."""
        for runner in self._of(job_id):
            runner.request(stop)
            runner.tell()

    def preempt(self, job_id: str, by: str) -> None:
        """Has a job pause for the sake of another, named in words, and resume by itself. Where another control plane
        follows it, its heartbeat passes that on."""
        self._store.queue.preempt(job_id, by)
        for runner in self._of(job_id):
            runner.preempt(by)
            runner.tell()

    def resize(self, job_id: str, workers: int) -> None:
        """Has a job compute on so many CPUs, likewise."""
        self._store.queue.resize(job_id, workers)
        for runner in self._of(job_id):
            runner.resize(workers)

    def _of(self, job_id: str) -> list[Runner]:
        return [runner for runner in self.now() if runner.attempt.job_id == job_id]

    def stop(self, within_s: float) -> None:
        """Asks every attempt to pause, gives them `within_s` to write a checkpoint, and ends those that took longer.
        Where the cluster keeps attempts, they go on instead."""
        if not self._cluster.keeps_attempts:
            for runner in self.now():
                runner.request("pause")
                runner.tell()
            with self._changed:
                self._changed.wait_for(lambda: not self._runners, within_s)
        runners = self.now()
        for runner in runners:
            runner.leave()
        for runner in runners:
            runner.thread.join(2 * WAIT_S)

    def _ended(self, runner: Runner) -> None:
        with self._changed:
            self._runners.remove(runner)
            self._changed.notify_all()
        self._on_cpus()
