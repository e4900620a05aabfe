"""Everything is killed at once (SIGKILL): the control plane, all of Ray, every process of the job; half of the kills
come while the service starts.

At the next start every acknowledged job is there, and ends with the same bits; the one that was running resumes.
"""

from chaos.records import Finding
from chaos.restarts import Restarts
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "kills", run.amount(100, quick=1))
        return Restarts(service, tally, Service.kill_all).finding()
