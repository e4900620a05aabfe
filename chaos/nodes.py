"""A node of two is lost: all of its processes are killed at once (SIGKILL), and it is replaced after a while.

The job continues on what is left, or waits and says why; within 30 s, with the same bits.
"""

import time

from chaos.disturbances import Disturbed, disturb, is_spread
from chaos.ray_nodes import ray_nodes
from chaos.records import Finding
from chaos.run import Run
from chaos.service import running
from chaos.tally import Tally

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with ray_nodes(run, cpus=[1, 1]) as cluster, running(run, "--ray-address", cluster.address) as service:
        tally = Tally(service, "losses", run.amount(50, quick=1))

        def lose_one(job_id: str) -> Disturbed | None:
            if len(cluster.nodes) < 2:
                cluster.add(cpus=1)
            if not is_spread(service, job_id, 2):
                return None
            lost_at = time.monotonic()
            cluster.lose(run.draw.choice(cluster.nodes))
            return Disturbed(lost_at, lost_at)

        disturb(service, tally, lose_one, workers={"min": 1, "max": 2}, epochs=run.amount(2000, quick=1000))
        return tally.finding(within_s=30.0)
