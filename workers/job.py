"""One training job as the control plane hands it to the engine, and what the engine tells back."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from shared.plan import Plan
from shared.table import TableFile

__all__ = [
    "AttemptLost",
    "Cluster",
    "InternalError",
    "Node",
    "NotPlaced",
    "OutOfMemory",
    "PreparedGone",
    "Report",
    "RunningJob",
    "Sought",
    "StopRequest",
    "Superseded",
    "TooFewCpus",
    "TrainingJob",
    "TransportName",
    "WorkerLost",
]

StopRequest = Literal["pause", "cancel"]
TransportName = Literal["direct", "ray"]  # how weights and gradients travel: workers/direct.py, or plain Ray calls


@dataclass(frozen=True)
class TrainingJob:
    """One attempt at one job: everything that the engine needs to know.

    `folder` is the job's own folder; the engine keeps `prepared/`, `checkpoints/` and at the end `model.safetensors`
    in it, and `attempt.<epoch>`, without which that attempt works no more. With `checkpoints`, the URL of a folder that
    is the job's own, they are kept there instead. An attempt resumes from the newest whole checkpoint that it finds.
    """

    id: str
    attempt: int
    plan: Plan
    training: TableFile
    validation: TableFile | None
    folder: str
    workers: int
    checkpoints: str | None = None
    epoch: int = 0
    """The job's when the attempt began, or was looked for: it counts all who had the job."""


class Sought(NamedTuple):
    """An attempt at a job that is looked for, by who has the job at that epoch."""

    job_id: str
    attempt: int
    epoch: int


@dataclass(frozen=True)
class Report:
    """One thing that happened to a running job. `number` counts from 1 within the attempt.

    type        data
    log         {level, message}: a line of the job's log for its user; `level` is info or warning
    started     parameters, resumed_from_step, environment: {blas_kernel, version, …}; workers: how many compute, which
                may be fewer than were asked for: the others join when they have started; members: who they are, by
                number, and maybe nodes: the id of the node of each
    progress    {fraction, step, steps, epoch, epochs, eta_s} and `metrics`: the latest of each metric; `trained`:
                {steps, samples, seconds} since progress was told before
    metrics     one item of GET /v1/jobs/{id}/metrics: {step, epoch, elapsed_s, train_loss, learning_rate,
                samples_per_s, validation_…}; after a resume some come again, with the same step and values
    checkpoint  {step, size_bytes, duration_s}: it is there for good
    trouble     {reason}: what goes wrong while it trains on; mended with the next checkpoint
    workers     {workers, cpus, step, why, before, members, gone, lost}: others compute from then on: `members`, by
                number, and no longer those `before`; `gone` have left. `lost`: because of that the step was computed
                again. A coordinator tells `in_vain`, too: who of them never computed. `cpus` is how many the attempt
                holds, which differs while somebody who was lost has no replacement yet
    ended       outcome: succeeded | paused | cancelled | failed; reason: str | None, which for paused says why it could
                not go on, if nobody asked; `trained`, as of progress; where it had begun to train also progress and
                metrics; for succeeded also parameters_sha256, and the metrics are of the weights kept
    """

    number: int
    type: Literal["log", "started", "progress", "metrics", "checkpoint", "trouble", "workers", "ended"]
    data: dict[str, Any]
    at: float = field(default_factory=time.time)
    """When, in seconds since 1970, by the clock of whoever told it."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    id: str
    address: str
    cpus: float
    memory_bytes: int
    blas_kernel: str | None


class AttemptLost(Exception):
    """The machinery of an attempt died (a process, a node); the job itself may be tried again."""


class WorkerLost(AttemptLost):
    """Some of an attempt's processes died, hang or lag; the others may go on without them.

    Args:
        workers: the numbers of those who are to blame, as far as is known.
    """

    def __init__(self, message: str, workers: Sequence[int]) -> None:
        super().__init__(message)
        self.workers = tuple(workers)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.workers)


class Superseded(AttemptLost):
    """A later attempt at the job has begun, since this one was given up for dead."""


class NotPlaced(AttemptLost):
    """The cluster had no place for an attempt, because other programs use it too; the attempt never began."""


class TooFewCpus(NotPlaced):
    """The cluster has fewer CPUs than the attempt needs: a node was lost, of which the scheduler did not know yet."""


class PreparedGone(AttemptLost):
    """The files that an attempt trains from are gone or damaged. They are the machine's, made from the data sets: the
    next attempt makes them anew."""


class OutOfMemory(AttemptLost):
    """A process of an attempt was refused memory, or was ended to give its machine some back."""


class InternalError(AttemptLost):
    """An attempt ended with an exception that nobody foresaw: a mistake in our code, which is likely to come again."""


class RunningJob(Protocol):
    """A handle on one attempt that has been launched. Every method may block, none may be called on the event loop."""

    def reports(self, after: int, wait_s: float) -> list[Report]:
        """Reports with a number above `after`, waiting up to `wait_s` for the first; [] when none came.
        Raises AttemptLost when the machinery died."""

    def request(self, stop: StopRequest) -> None:
        """Asks the attempt to stop at the next step; it then reports `ended`. Repeating is harmless."""

    def resize(self, workers: int) -> None:
        """Asks the attempt to compute on so many CPUs, from 1 to what its plan allows, from the next step on; it then
        reports `workers`. CPUs that it gives up are free when it has reported. Repeating is harmless."""

    def leave(self) -> None:
        """Follows the attempt no longer: it goes on where the cluster keeps attempts, and is closed where not."""

    def close(self) -> None:
        """Ends every process of the attempt, at once, and gives its CPUs back. Repeating is harmless."""


class Cluster(Protocol):
    """Where jobs run. Every method may block, none may be called on the event loop."""

    is_elastic: bool
    """Whether an attempt can compute on more or fewer CPUs than it began on."""
    keeps_attempts: bool
    """Whether attempts go on without this process, for `find` to find them."""

    def start(self) -> None:
        """Starts or joins the cluster; returns when jobs can be launched."""

    def stop(self) -> None:
        """Ends what `start` started, and every attempt with it. Repeating is harmless."""

    def nodes(self) -> list[Node]:
        """The machines that are alive now. Raises Unavailable when the cluster does not answer."""

    def cpus_held(self) -> dict[str, int]:
        """CPUs that attempts hold, by node id; asked of a cluster of several nodes. Raises Unavailable."""

    def launch(self, job: TrainingJob) -> RunningJob:
        """Starts an attempt on `job.workers` CPUs that the caller knows to be free; returns before it trains.
        Raises NotPlaced when they are not free after all, AttemptLost when a process died on the way."""

    def find(self, sought: Sequence[Sought]) -> Mapping[str, RunningJob]:
        """Of attempts that were launched by a control plane that is gone those whose processes still run, by job. Of
        the others none does, or none that answers. However many are sought, and silent, that is waited for once."""
