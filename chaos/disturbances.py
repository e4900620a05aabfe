"""What is done to jobs while they train, again and again, at random moments."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chaos.processes import JobProcesses, kill_all, of_job
from chaos.run import Run
from chaos.service import Service
from chaos.tally import Tally
from chaos.watch import Hung, Watch

__all__ = ["Disturb", "Disturbed", "disturb", "is_spread", "killing"]

SPREADS_WITHIN_S = 180.0
DELAY_S = (0.3, 1.5)  # between training and the next disturbance; longer than a checkpoint's interval


class Disturbed(NamedTuple):
    """When something was done to a job, and from when on what it tells is of after that."""

    at: float
    over_at: float
    undo: Callable[[], None] = lambda: None
    """Called once training goes on, or has not for too long."""


Disturb = Callable[[str], Disturbed | None]
"""Does something to the job with that id, which trains; None when there was nothing left to do it to."""


def killing(run: Run, choose: Callable[[JobProcesses], Sequence[int]]) -> Disturb:
    """Kills one of the job's processes that `choose` names, by SIGKILL."""

    def kill(job_id: str) -> Disturbed | None:
        victims = choose(of_job(run, job_id))
        killed_at = kill_all([run.draw.choice(victims)]) if victims else None
        return None if killed_at is None else Disturbed(killed_at, killed_at)

    return kill


def is_spread(service: Service, job_id: str, workers: int) -> bool:
    """Waits until the job computes on so many workers; False when it ended before. Raises Hung.

    Else what is taken from it next may be what it has not begun to use.
    """
    deadline = time.monotonic() + SPREADS_WITHIN_S
    while not (job := service.client.job(job_id)).is_over:
        if job.workers == workers:
            return True
        if time.monotonic() > deadline:
            raise Hung(f"{job_id} did not grow to {workers} workers in {SPREADS_WITHIN_S:.0f} s")
        time.sleep(0.1)
    return False


def disturb(service: Service, tally: Tally, do: Disturb, until: int | None = None, **changes: Any) -> None:
    """Trains jobs one after the other and disturbs each at random moments, as often as is wanted, or until so many are
    done. What is done to one that ends before it tells of training again does not count: it shows no recovery.
    `changes` are what the jobs have that others have not."""
    until = tally.wanted if until is None else until
    spec = service.spec(**{"epochs": service.run.amount(2000, quick=300), **changes})
    digest = service.undisturbed(spec)
    while tally.disturbances < until:
        watch = Watch(service.url, service.client.submit(spec).id)
        try:
            _disturb_one(service, tally, do, watch, until)
        except Hung as hung:
            tally.jobs += 1
            tally.lose(f"{hung}\n{service.log_tail()}")
            return
        tally.ends(watch.job_id, digest)
        tally.say()


def _disturb_one(service: Service, tally: Tally, do: Disturb, watch: Watch, until: int) -> None:
    trains = watch.goes_on(since=0.0)
    while trains is not None and tally.disturbances < until:
        if watch.is_over_within(service.run.draw.uniform(*DELAY_S)):
            return
        done = do(watch.job_id)
        if done is not None:
            try:
                trains = watch.goes_on(done.over_at)
            finally:
                done.undo()
            if trains is not None:
                tally.count(trains - done.at)
