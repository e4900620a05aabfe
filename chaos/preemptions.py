"""A job of higher priority takes one CPU or both from one that trains, and half of the times a coordinator is killed.

That one computes on what is left, or is paused, says for whom, and resumes by itself; both end with the same bits as if
they had been alone.
"""

import time
from collections.abc import Sequence
from typing import Any

from chaos.disturbances import DELAY_S
from chaos.processes import kill_all, of_job
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import ENDS_WITHIN_S, Tally
from chaos.watch import Hung, Watch

__all__ = ["measure"]

Spec = dict[str, Any]
PAUSED_FOR = "preempted by "


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "preemptions", run.amount(50, quick=4))
        spec = service.spec(run.amount(2000, quick=400), workers={"min": 1, "max": 2})
        digest = service.undisturbed(spec)
        urgent = [
            service.spec(epochs, workers={"min": each, "max": each}, priority=5)
            for epochs in (50, 150)
            for each in (1, 2)
        ]
        digests = [(each, service.undisturbed(each)) for each in urgent]
        pauses = kills = 0
        while not tally.enough:
            watch = Watch(service.url, service.client.submit(spec).id)
            try:
                kills += _preempt(service, tally, watch, digests)
            except Hung as hung:
                tally.jobs += 1
                tally.lose(f"{hung}\n{service.log_tail()}")
                break
            tally.ends(watch.job_id, digest)
            pauses += _pauses(service, tally, watch.job_id)
        if not pauses:
            tally.broken.append("no job was ever paused for another")
        return tally.finding(
            notes=[f"{pauses} times the job was paused, else it shrank; {kills} coordinators were killed"]
        )


def _preempt(service: Service, tally: Tally, watch: Watch, urgent: Sequence[tuple[Spec, str]]) -> int:
    """Lets urgent jobs, each with the digest that it must end with, pass by while the job trains; returns how many
    coordinators were killed."""
    run, kills = service.run, 0
    trains = watch.goes_on(since=0.0)
    while trains is not None and not tally.enough and not watch.is_over_within(run.draw.uniform(*DELAY_S)):
        spec, digest = urgent[tally.disturbances % len(urgent)]
        job_id = service.client.submit(spec).id
        if run.draw.random() < 0.5:
            watch.is_over_within(run.draw.uniform(0.0, DELAY_S[1]))
            kills += kill_all(of_job(run, run.draw.choice([job_id, watch.job_id])).coordinators) is not None
        Watch(service.url, job_id).is_over_within(ENDS_WITHIN_S)  # if it is not, the tally takes it for lost, below
        ended_at = time.monotonic()
        trains = watch.goes_on(ended_at)
        tally.ends(job_id, digest)
        tally.count(None if trains is None else trains - ended_at)
    return kills


def _pauses(service: Service, tally: Tally, job_id: str) -> int:
    """How often the job was paused, each time for another."""
    reasons = [move.why for move in service.client.history(job_id) if move.to == "paused"]
    tally.broken += [f"{job_id} was paused: {why}" for why in reasons if not why.startswith(PAUSED_FOR)]
    return len(reasons)
