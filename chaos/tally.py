"""The count of one experiment: disturbances, jobs, what was lost, and how long it took to recover."""

import hashlib
import time
from collections.abc import Sequence

from benchmarks.records import Spread
from chainrule import Job
from chaos.records import Finding
from chaos.redone import Redone, longest_write_s, never_resumed, redone
from chaos.service import SPEC, Service

__all__ = ["ENDS_WITHIN_S", "Tally"]

ENDS_WITHIN_S = 900.0  # as where other programs have the cores a job takes many times as long
KEPT = {"model.safetensors"}  # of a job that has succeeded
TIDIES_WITHIN_S = 10.0
LOOKS_WITHIN_S = 1.0
"""Within which a checkpoint that is due is begun, and one that is written is told, where the cores are busy."""


class Tally:
    """Counts, and says how it stands."""

    def __init__(self, service: Service, kind: str, wanted: int, *, disk_has_room: bool = True) -> None:
        self._service, self._kind, self.wanted, self._disk_has_room = service, kind, wanted, disk_has_room
        self.disturbances = self.jobs = self.lost = self.differing = 0
        self.recoveries: list[float] = []
        self.broken: list[str] = []
        self.notes: list[str] = []
        self._succeeded: list[str] = []
        self._redone: list[Redone] = []
        self._at_most_s = 0.0

    @property
    def enough(self) -> bool:
        """Whether all disturbances have been made that are wanted."""
        return self.disturbances >= self.wanted

    def count(self, recovery_s: float | None = None) -> None:
        """One more disturbance, from which training recovered after so long; None where nobody waited for that."""
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
        if job.state != "succeeded":
            self.lose(f"{job.id} {job.state}: {job.reason}")
            return
        self._succeeded.append(job.id)
        log = self._service.client.logs(job.id)
        metrics = self._service.client.metrics(job.id)
        again = list(redone(log, metrics, job.progress.steps // job.progress.epochs))
        at_most_s = job.spec["checkpoint"]["every_s"] + longest_write_s(log) + LOOKS_WITHIN_S
        longest_s = max((each.seconds for each in again), default=0.0)
        if longest_s > at_most_s and self._disk_has_room:  # else checkpoints are not written for a while
            self.broken.append(
                f"{job.id} trained {longest_s:.2f} s again, {at_most_s:.2f} s at most were to be expected"
            )
        self._redone += again
        self._at_most_s = max(self._at_most_s, at_most_s)
        model = job.model()
        parameters = (array.tobytes() for layer in zip(model.weights, model.biases, strict=True) for array in layer)
        kept = hashlib.sha256(b"".join(parameters)).hexdigest()
        if not job.parameters_sha256 == model.parameters_sha256 == kept == digest:
            self.differing += 1
            found = f"digest {job.parameters_sha256}, its model's {model.parameters_sha256}, of what is in that {kept}"
            self.broken.append(f"{job.id}: {found}, undisturbed {digest}")
        told = [item["epoch"] for item in metrics]
        if told != list(range(1, job.spec["epochs"] + 1)):
            missing, doubled = job.spec["epochs"] - len(set(told)), len(told) - len(set(told))
            self.broken.append(f"{job.id}: {missing} of its epochs were not told, {doubled} were told twice")

    def ends(self, job_id: str, digest: str) -> None:
        """Waits for a job's end, and takes it in."""
        try:
            job = self._service.client.wait(job_id, ENDS_WITHIN_S)
        except TimeoutError as error:
            self.jobs += 1
            self.lose(str(error))
        else:
            self.takes(job, digest)

    def _left(self) -> list[tuple[str, str]]:
        """Jobs that have succeeded, and what lies in their folders that only somebody who was given up can have written
        there; what is being removed is waited for."""
        until = time.monotonic() + TIDIES_WITHIN_S
        while left := [(job_id, found) for job_id in self._succeeded if (found := self._foreign(job_id))]:
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        return left

    def _foreign(self, job_id: str) -> str:
        folder = self._service.data_dir / "jobs" / job_id
        assert folder.is_dir(), folder
        files = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
        return ", ".join(sorted(str(file) for file in files if str(file) not in KEPT))

    def finding(self, within_s: float | None = None, notes: Sequence[str] = ()) -> Finding:
        """What was found; the longest recovery must not exceed `within_s`."""
        self.broken += [
            f"{job_id}: {files} lie in its folder, which it has done with" for job_id, files in self._left()
        ]
        if self._redone:
            worst, every_s = Spread.of([each.seconds for each in self._redone]), SPEC["checkpoint"]["every_s"]
            resumed = sum(each.from_checkpoint for each in self._redone)
            if never_resumed(self._redone):
                self.broken.append(f"none of {len(self._redone)} attempts resumed from a checkpoint")
            again = f"{worst.value:.2f} s of training were done again, at the median, {worst.high:.2f} s at most"
            self.notes.append(
                f"{again}, after {len(self._redone)} attempts, {resumed} of them from a checkpoint, which was due every"
                f" {every_s:g} s; with the time it takes to write one, beside the steps, {self._at_most_s:.2f} s were"
                " allowed"
            )
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
