"""The control plane is killed (SIGKILL), with Ray on a cluster of its own, while jobs are submitted to it.

Every job that it had acknowledged is there when it answers again, and ends with the same bits; the one that was running
goes on.
"""

from chaos.ray_nodes import ray_nodes
from chaos.records import Finding
from chaos.restarts import Restarts
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with ray_nodes(run, cpus=[2]) as cluster, running(run, "--ray-address", cluster.address) as service:
        tally = Tally(service, "kills", run.amount(100, quick=2))
        return Restarts(service, tally, Service.kill).finding()
