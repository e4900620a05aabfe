"""The coordinator, which holds the parameter server, is killed (SIGKILL).

The job goes on from its newest checkpoint, within 10 s, with the same bits.
"""

from chaos.disturbances import disturb, killing
from chaos.records import Finding
from chaos.run import Run
from chaos.service import running
from chaos.tally import Tally

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "kills", run.amount(200, quick=3))
        disturb(service, tally, killing(run, lambda job: job.coordinators))
        return tally.finding(within_s=10.0)
