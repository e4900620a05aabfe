"""A job of higher priority takes one CPU or both from one that trains, and half of the times a coordinator is killed.

That one computes on one CPU before the other starts, or is paused, says for whom, and resumes by itself; both end with
the same bits as if they had been alone.
"""

import re
import time
from collections.abc import Sequence
from datetime import datetime

from chainrule import LogLine
from chaos.disturbances import DELAY_S, Disturbed, disturb, is_spread
from chaos.processes import kill_all, of_job
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import ENDS_WITHIN_S, Tally
from chaos.watch import Hung, Watch

__all__ = ["cpus_at", "measure"]

CPUS = 2
STARTS_WITHIN_S = 10.0  # what it has to wait for is a step's end, or a checkpoint
PAUSED_FOR = "preempted by "
COMPUTES = re.compile(r"computes (?:with|on) (\d+) (?:worker|CPU)")
STOPS = re.compile(r"(?:paused|queued|succeeded|failed|cancelled): ")


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "preemptions", run.amount(50, quick=4))
        preempt = _Preempt(service, tally)
        disturb(service, tally, preempt, workers={"min": 1, "max": CPUS})
        how = f"{preempt.shrinks} times the job went on with fewer CPUs, {preempt.pauses} times it was paused"
        waited = f"the urgent ones waited {max(preempt.waited_s, default=0.0):.2f} s at most"
        return tally.finding(notes=[f"{how}; {waited}; {preempt.kills} coordinators were killed"])


def cpus_at(lines: Sequence[LogLine], moment: datetime) -> int:
    """On how many CPUs a job computed at a moment, by its log."""
    cpus = 0
    for line in lines:
        if line.at is not None and line.at <= moment:
            if computes := COMPUTES.match(line.message):
                cpus = int(computes[1])
            elif STOPS.match(line.message):
                cpus = 0
    return cpus


class _Preempt:
    """Has an urgent job pass by a job that trains, and perhaps kills the coordinator of either."""

    def __init__(self, service: Service, tally: Tally) -> None:
        self._service, self._tally = service, tally
        takes = [(epochs, cpus) for epochs in (50, 150) for cpus in (1, CPUS)]
        specs = [(cpus, service.spec(epochs, workers={"min": cpus, "max": cpus}, priority=5)) for epochs, cpus in takes]
        self._urgent = [(cpus, spec, service.undisturbed(spec)) for cpus, spec in specs]
        self.kills = self.shrinks = self.pauses = 0
        self.waited_s: list[float] = []

    def __call__(self, job_id: str) -> Disturbed | None:
        client, draw = self._service.client, self._service.run.draw
        cpus, spec, digest = self._urgent[self._tally.disturbances % len(self._urgent)]
        if cpus < CPUS and not is_spread(self._service, job_id, CPUS):  # it would find one free, and nobody shrinks
            return None
        before = len(self._pauses(job_id))
        urgent_id = client.submit(spec).id
        urgent = Watch(self._service.url, urgent_id)
        killed = None
        if draw.random() < 0.5:
            urgent.is_over_within(draw.uniform(0.0, DELAY_S[1]))
            chosen = draw.choice([urgent_id, job_id])
            if kill_all(of_job(self._service.run, chosen).coordinators) is not None:
                self.kills, killed = self.kills + 1, chosen
        urgent.is_over_within(ENDS_WITHIN_S)  # if it is not, the tally takes it for lost
        ended_at = time.monotonic()
        self._tally.ends(urgent_id, digest)
        started_at = self._started_at(urgent_id)
        if client.job(job_id).is_over:
            return None
        self._look(job_id, urgent_id, cpus, started_at, self._pauses(job_id)[before:], was_killed=killed == job_id)
        return Disturbed(ended_at, ended_at)

    def _started_at(self, urgent_id: str) -> datetime:
        """When the urgent job was given CPUs. Raises Hung if that took too long, as if nobody had made room."""
        moves = self._service.client.history(urgent_id)
        started_at = next((move.when for move in moves if move.to == "running"), None)
        waited_s = ENDS_WITHIN_S if started_at is None else (started_at - moves[0].when).total_seconds()
        if started_at is None or waited_s > STARTS_WITHIN_S:
            raise Hung(f"{urgent_id}, which is urgent, waited {waited_s:.1f} s for CPUs")
        self.waited_s.append(waited_s)
        return started_at

    def _look(
        self, job_id: str, urgent_id: str, cpus: int, started_at: datetime, pauses: Sequence[str], *, was_killed: bool
    ) -> None:
        """How the job made room; one whose coordinator was killed meanwhile may have done so by that."""
        had, left = cpus_at(self._service.client.logs(job_id), started_at), CPUS - cpus
        shrank, paused = had == left > 0 and not pauses, had == left == 0 and bool(pauses)
        self.shrinks += shrank
        self.pauses += paused
        if not (shrank or paused or (was_killed and had <= left)):
            self._tally.broken.append(
                f"{job_id} computed on {had} CPUs when {urgent_id} started, which took {cpus} of {CPUS},"
                f" and was paused {len(pauses)} times"
            )
        wrong = [why for why in pauses if not why.startswith(PAUSED_FOR)]
        self._tally.broken += [f"{job_id} was paused: {why}" for why in wrong]

    def _pauses(self, job_id: str) -> list[str]:
        """Why the job was paused, each time."""
        return [move.why for move in self._service.client.history(job_id) if move.to == "paused"]
