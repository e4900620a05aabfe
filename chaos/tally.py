"""The count of one experiment: disturbances, jobs, what was lost, and how long it took to recover."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.records import Spread
from chainrule.records import Job
from chaos.processes import JobProcesses, kill_all, of_job
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service
from chaos.watch import Hung, Watch

__all__ = ["Disturb", "Disturbed", "Tally", "disturb", "killing"]

DELAY_S = (0.3, 1.5)  # between training and the next disturbance; longer than a checkpoint's interval
ENDS_WITHIN_S = 900.0  # as where other programs have the cores a job takes many times as long


class Tally:
    """Counts, and says how it stands."""

    def __init__(self, service: Service, kind: str, wanted: int) -> None:
        self._service, self._kind, self.wanted = service, kind, wanted
        self.disturbances = self.jobs = self.lost = self.differing = 0
        self.recoveries: list[float] = []
        self.broken: list[str] = []
        self.notes: list[str] = []

    @property
    def enough(self) -> bool:
        """Whether all disturbances have been made that are wanted."""
        return self.disturbances >= self.wanted

    def count(self, recovery_s: float | None = None) -> None:
        """One more disturbance, from which training recovered after so long; None where that cannot be known."""
        self.disturbances += 1
        if recovery_s is not None:
            self.recoveries.append(recovery_s)
        self.say()

    def say(self) -> None:
        worst = f", recovered in {max(self.recoveries):.1f} s at most" if self.recoveries else ""
        lost = f", {self.lost + self.differing} LOST" if self.lost + self.differing else ""
        self._service.run.say(f"{self.disturbances} of {self.wanted} {self._kind}, {self.jobs} jobs{worst}{lost}")

    def lose(self, why: str) -> None:
        """A job did not end as it had to."""
        self.lost += 1
        self.broken.append(why)

    def takes(self, job: Job, digest: str) -> None:
        """Takes in a job that must have succeeded with that digest, and told each epoch once."""
        self.jobs += 1
        if job["state"] != "succeeded":
            self.lose(f"{job['id']} {job['state']}: {job['reason']}")
            return
        if job["parameters_sha256"] != digest:
            self.differing += 1
            self.broken.append(f"{job['id']}: digest {job['parameters_sha256']}, undisturbed {digest}")
        told = [item["epoch"] for item in self._service.client.metrics(job["id"])]
        if told != list(range(1, job["spec"]["epochs"] + 1)):
            missing, doubled = job["spec"]["epochs"] - len(set(told)), len(told) - len(set(told))
            self.broken.append(f"{job['id']}: {missing} of its epochs were not told, {doubled} were told twice")

    def ends(self, job_id: str, digest: str) -> None:
        """Waits for a job's end, and takes it in."""
        try:
            job = self._service.client.wait(job_id, ENDS_WITHIN_S)
        except TimeoutError as error:
            self.jobs += 1
            self.lose(str(error))
        else:
            self.takes(job, digest)

    def finding(self, within_s: float | None = None, notes: Sequence[str] = ()) -> Finding:
        """What was found; the longest recovery must not exceed `within_s`."""
        recovery = Spread.of(self.recoveries) if self.recoveries else None
        return Finding(
            disturbances=self.disturbances,
            kind=self._kind,
            wanted=self.wanted,
            jobs=self.jobs,
            lost=self.lost,
            differing=self.differing,
            recovery=recovery,
            within_s=within_s,
            broken=tuple(self.broken),
            notes=(*self.notes, *notes),
        )


class Disturbed(NamedTuple):
    """When something was done to a job, and from when on what it tells is of after that."""

    at: float
    over_at: float
    undo: Callable[[], None] = lambda: None
    """Called once training goes on."""


Disturb = Callable[[str], Disturbed | None]
"""Does something to the job with that id, which trains; None when there was nothing left to do it to."""


def killing(run: Run, choose: Callable[[JobProcesses], Sequence[int]]) -> Disturb:
    """Kills one of the job's processes that `choose` names, by SIGKILL."""

    def kill(job_id: str) -> Disturbed | None:
        victims = choose(of_job(run, job_id))
        killed_at = kill_all([run.draw.choice(victims)]) if victims else None
        return None if killed_at is None else Disturbed(killed_at, killed_at)

    return kill


def disturb(service: Service, tally: Tally, do: Disturb, **changes: Any) -> None:
    """Trains jobs one after the other and disturbs each at random moments, as often as is wanted; counts all of it.
    `changes` are what the jobs have that others have not."""
    spec = service.spec(**{"epochs": service.run.amount(2000, quick=300), **changes})
    digest = service.undisturbed(spec)
    while not tally.enough:
        watch = Watch(service.url, service.client.submit(spec)["id"])
        try:
            _disturb_one(service, tally, do, watch)
        except Hung as hung:
            tally.jobs += 1
            tally.lose(f"{hung}\n{service.log_tail()}")
            return
        tally.ends(watch.job_id, digest)
        tally.say()


def _disturb_one(service: Service, tally: Tally, do: Disturb, watch: Watch) -> None:
    trains = watch.goes_on(since=0.0)
    while trains is not None and not tally.enough:
        if watch.is_over_within(service.run.draw.uniform(*DELAY_S)):
            return
        done = do(watch.job_id)
        if done is not None:
            trains = watch.goes_on(done.over_at)
            done.undo()
            tally.count(None if trains is None else trains - done.at)
