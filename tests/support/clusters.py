"""Clusters without Ray: one whose jobs do what a test says, and one that trains in threads of this process."""

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from workers.coordinator import Coordinator
from workers.job import AttemptLost, Node, Report, Sought, StopRequest, TrainingJob
from workers.transport import LocalTransport

WITHIN_S = 10.0


class ScriptedJob:
    """An attempt that tells what the test makes it tell."""

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self.requests: queue.Queue[StopRequest] = queue.Queue()
        self.resizes: queue.Queue[int] = queue.Queue()
        self.resizes_at_once = True
        """Whether it tells at once that it has resized; else the test tells that, later or never, by `compute_on`."""
        self.closed, self.was_left = threading.Event(), threading.Event()
        self._obeys = False
        self._asked: StopRequest | None = None
        self._changed = threading.Condition()
        self._reports: list[Report] = []
        self._lost: AttemptLost | None = None

    def tell(self, kind: Any, **data: Any) -> "ScriptedJob":
        """Tells it, unless it has told its end, after which no attempt tells anything."""
        with self._changed:
            if not self._reports or self._reports[-1].type != "ended":
                self._reports.append(Report(len(self._reports) + 1, kind, data))
                self._changed.notify_all()
        return self

    def tell_metrics(self, step: int, **more: Any) -> "ScriptedJob":
        return self.tell("metrics", step=step, epoch=step, elapsed_s=0.1, train_loss=1.0 / step, **more)

    def end(self, outcome: str, **data: Any) -> "ScriptedJob":
        return self.tell("ended", outcome=outcome, **{"reason": None, **data})

    def compute_on(self, workers: int, why: str = "resized") -> "ScriptedJob":
        return self.tell("workers", workers=workers, cpus=workers, step=0, why=why)

    def lose(self, loss: str | AttemptLost) -> None:
        with self._changed:
            self._lost = loss if isinstance(loss, AttemptLost) else AttemptLost(loss)
            self._changed.notify_all()

    def asked(self) -> StopRequest:
        """The next stop that was asked for."""
        return self.requests.get(timeout=WITHIN_S)

    def resized(self) -> int:
        """The next number of CPUs that was asked for."""
        return self.resizes.get(timeout=WITHIN_S)

    def obey(self) -> None:
        """Ends by itself when it is asked to, or has been, from now on."""
        with self._changed:
            self._obeys = True
            asked = self._asked
        if asked is not None:
            self._end_as(asked)

    def _end_as(self, asked: StopRequest) -> None:
        self.end("paused" if asked == "pause" else "cancelled")

    # ---------------------------------------------------------------- what the control plane calls
    def reports(self, after: int, wait_s: float) -> list[Report]:
        with self._changed:
            self._changed.wait_for(lambda: self._lost is not None or len(self._reports) > after, wait_s)
            if self._lost is not None:
                raise self._lost
            return self._reports[after:]

    def request(self, stop: StopRequest) -> None:
        self.requests.put(stop)
        with self._changed:
            self._asked = stop
            obeys = self._obeys
        if obeys:
            self._end_as(stop)

    def resize(self, workers: int) -> None:
        self.resizes.put(workers)
        if self.resizes_at_once:
            self.compute_on(workers)

    def leave(self) -> None:
        self.was_left.set()

    def close(self) -> None:
        self.closed.set()


class ScriptedCluster:
    """`cpus` CPUs; every attempt that is launched comes out of `next_job`."""

    is_elastic = True
    keeps_attempts = False

    def __init__(self, cpus: int = 2) -> None:
        self.cpus = cpus
        self.stopped = threading.Event()
        self.left: dict[str, ScriptedJob] = {}
        """Attempts by job id that still run though their control plane is gone."""
        self._launched: queue.Queue[ScriptedJob] = queue.Queue()
        self._jobs: list[ScriptedJob] = []
        self._is_let_go = False

    def next_job(self) -> ScriptedJob:
        return self._launched.get(timeout=WITHIN_S)

    def nothing_launched(self) -> bool:
        return self._launched.empty()

    def let_go(self) -> None:
        """The test is over: attempts heed requests by themselves, those that are still to start as well."""
        self._is_let_go = True
        for job in self._jobs:
            job.obey()

    def start(self) -> None:
        return

    def stop(self) -> None:
        self.stopped.set()

    def nodes(self) -> list[Node]:
        return [Node("node", "127.0.0.1", float(self.cpus), 2**30, "Haswell")]

    def cpus_held(self) -> dict[str, int]:
        return {}  # it has one node, of which nobody asks

    def launch(self, job: TrainingJob) -> ScriptedJob:
        launched = ScriptedJob(job)
        self._jobs.append(launched)
        if self._is_let_go:
            launched.obey()
        self._launched.put(launched)
        return launched

    def find(self, sought: Sequence[Sought]) -> Mapping[str, ScriptedJob]:
        found = {each.job_id: self.left.pop(each.job_id) for each in sought if each.job_id in self.left}
        self._jobs += found.values()
        return found


class LocalJob:
    """An attempt that really trains, in a thread."""

    def __init__(self, job: TrainingJob) -> None:
        self._coordinator = Coordinator(job, LocalTransport(job.workers))
        self._thread = threading.Thread(target=self._coordinator.run, daemon=True)
        self._thread.start()

    def reports(self, after: int, wait_s: float) -> list[Report]:
        return self._coordinator.reports(after, wait_s)

    def request(self, stop: StopRequest) -> None:
        self._coordinator.request(stop)

    def resize(self, workers: int) -> None:
        return  # it goes on in its one thread

    def close(self) -> None:
        self._thread.join(WITHIN_S)


class LocalCluster(ScriptedCluster):
    """Trains in this process."""

    def launch(self, job: TrainingJob) -> Any:
        return LocalJob(job)


class BriefCluster(LocalCluster):
    """Trains in this process what takes moments, and has all else fail at once."""

    MOMENTS = 50_000  # parameters that are updated, over all steps

    def launch(self, job: TrainingJob) -> Any:
        if job.plan.steps * job.plan.parameters <= self.MOMENTS:
            return super().launch(job)
        return super(LocalCluster, self).launch(job).end("failed", reason="too long for a test", error="Diverged")
