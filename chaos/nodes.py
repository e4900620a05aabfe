"""A node of two is lost: all of its processes are killed at once (SIGKILL), and it is replaced after a while.

A job that needs one CPU continues on what is left. One that needs both, and loses its coordinator's node, waits and
says why, and goes on once there is a node again; or it was started anew before the loss was noticed, and computes on
what is left. Each within 30 s, with the same bits.
"""

import time

from chaos.disturbances import Disturbed, disturb, is_spread
from chaos.processes import of_job
from chaos.ray_nodes import Node, RayNodes, ray_nodes
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally
from chaos.watch import Watch

__all__ = ["measure"]

WITHIN_S = 30.0
NODES = 2  # of a CPU each
SAYS = f"needs {NODES} CPUs", "found no place"  # one of these must be in what a job says while it waits


def measure(run: Run) -> Finding:
    with ray_nodes(run, cpus=[1] * NODES) as cluster, running(run, "--ray-address", cluster.address) as service:
        tally = Tally(service, "losses", run.amount(50, quick=2))
        epochs = run.amount(2000, quick=300)
        said_after_s: list[float] = []

        def complete() -> None:
            if len(cluster.nodes) < NODES:
                cluster.add(cpus=1)

        def lose_one(job_id: str) -> Disturbed | None:
            complete()
            if not is_spread(service, job_id, NODES):
                return None
            lost_at = time.monotonic()
            cluster.lose(run.draw.choice(cluster.nodes))
            return Disturbed(lost_at, lost_at)

        def lose_home(job_id: str) -> Disturbed | None:
            watch = Watch(service.url, job_id)
            if watch.goes_on(since=0.0) is None or not is_spread(service, job_id, NODES):
                return None
            if (home := _home(run, cluster, job_id)) is None:
                return None
            lost_at = time.monotonic()
            cluster.lose(home)
            said_at = None
            while said_at is None and time.monotonic() < lost_at + WITHIN_S:
                if watch.is_over_within(0.1) or watch.went_on(lost_at) is not None:
                    return Disturbed(lost_at, lost_at, complete)
                said_at = _says_why_it_waits(service, job_id)
            if said_at is None:
                job = service.client.job(job_id)
                tally.broken.append(f"{job_id} neither trains nor waits for CPUs: it is {job.state}: {job.reason}")
            else:
                said_after_s.append(said_at - lost_at)
            complete()
            back_at = time.monotonic()
            return Disturbed(back_at, back_at)

        disturb(service, tally, lose_one, tally.wanted // 2, workers={"min": 1, "max": NODES}, epochs=epochs)
        complete()
        disturb(service, tally, lose_home, workers={"min": NODES, "max": NODES}, epochs=epochs)
        waits = f"{len(said_after_s)} times a job that needs both waited for a node"
        return tally.finding(WITHIN_S, [f"{waits}, and said so after {max(said_after_s, default=0.0):.2f} s at most"])


def _home(run: Run, cluster: RayNodes, job_id: str) -> Node | None:
    """Where the job's coordinator runs; None where it has just ended."""
    coordinators = set(of_job(run, job_id).coordinators)
    return next((node for node in cluster.nodes if not coordinators.isdisjoint(node.processes())), None)


def _says_why_it_waits(service: Service, job_id: str) -> float | None:
    """Now, if the job says that it waits for CPUs."""
    job = service.client.job(job_id)
    waits = job.state == "queued" and any(words in (job.reason or "") for words in SAYS)
    return time.monotonic() if waits else None
