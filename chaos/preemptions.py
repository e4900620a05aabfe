"""A job of higher priority takes one CPU or both from one that trains, and half of the times a coordinator is killed.

That one computes on what is left, or is paused, says for whom, and resumes by itself; both end with the same bits as if
they had been alone.
"""

import time
from functools import partial

from chaos.disturbances import DELAY_S, Disturbed, disturb
from chaos.processes import kill_all, of_job
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import ENDS_WITHIN_S, Tally
from chaos.watch import Watch

__all__ = ["measure"]

PAUSED_FOR = "preempted by "


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "preemptions", run.amount(50, quick=4))
        preempt = _Preempt(service, tally)
        disturb(service, tally, preempt, workers={"min": 1, "max": 2})
        pauses = sum(preempt.pauses.values())
        if not pauses:
            tally.broken.append("no job was ever paused for another")
        killed = f"{preempt.kills} coordinators were killed"
        return tally.finding(notes=[f"{pauses} times the job was paused, else it shrank; {killed}"])


class _Preempt:
    """Has an urgent job pass by a job that trains, and perhaps kills the coordinator of either."""

    def __init__(self, service: Service, tally: Tally) -> None:
        self._service, self._tally = service, tally
        specs = [
            service.spec(epochs, workers={"min": cpus, "max": cpus}, priority=5)
            for epochs in (50, 150)
            for cpus in (1, 2)
        ]
        self._urgent = [(spec, service.undisturbed(spec)) for spec in specs]
        self.kills = 0
        self.pauses: dict[str, int] = {}
        """Of each job that was passed by."""

    def __call__(self, job_id: str) -> Disturbed:
        run = self._service.run
        spec, digest = self._urgent[self._tally.disturbances % len(self._urgent)]
        urgent_id = self._service.client.submit(spec).id
        urgent = Watch(self._service.url, urgent_id)
        if run.draw.random() < 0.5:
            urgent.is_over_within(run.draw.uniform(0.0, DELAY_S[1]))
            victims = of_job(run, run.draw.choice([urgent_id, job_id])).coordinators
            self.kills += kill_all(victims) is not None
        urgent.is_over_within(ENDS_WITHIN_S)  # if it is not, the tally takes it for lost
        ended_at = time.monotonic()
        return Disturbed(ended_at, ended_at, partial(self._look, job_id, urgent_id, digest))

    def _look(self, job_id: str, urgent_id: str, digest: str) -> None:
        """Once the job trains again."""
        self._tally.ends(urgent_id, digest)
        reasons = [move.why for move in self._service.client.history(job_id) if move.to == "paused"]
        new = reasons[self.pauses.get(job_id, 0) :]
        self._tally.broken += [f"{job_id} was paused: {why}" for why in new if not why.startswith(PAUSED_FOR)]
        self.pauses[job_id] = len(reasons)
