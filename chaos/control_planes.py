"""The control plane is killed (SIGKILL), with embedded Ray, while jobs are submitted to it; half of the kills come
while it starts.

Every job that it had acknowledged is there when it answers again, and ends with the same bits; the one that was running
resumes.
"""

from chaos.records import Finding
from chaos.restarts import Restarts
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "kills", run.amount(100, quick=2))
        return Restarts(service, tally, Service.kill).finding()
