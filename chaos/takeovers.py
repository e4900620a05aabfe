"""One of two control planes, which share PostgreSQL, a Ray cluster and the data folder, is killed (SIGKILL), or stopped
(SIGSTOP) and let go on once the other has the job: first one, then, when that is there again, the other.

The one that is left takes the job over while it goes on training, and tells of it. One that wakes has no say any more.
"""

import os
import signal
import time
from contextlib import ExitStack
from itertools import cycle

from chaos.ray_nodes import ray_nodes
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally
from chaos.watch import Hung, Watch
from examples.postgresql import PostgreSQL

__all__ = ["measure"]

WITHIN_S = 20.0  # a lease of 15 s, and a look at it every 2 s
EPOCHS = 6000  # several takeovers long


def measure(run: Run) -> Finding:
    with ExitStack() as stack:
        cluster = stack.enter_context(ray_nodes(run, cpus=[2]))
        postgres = stack.enter_context(PostgreSQL(run.folder))
        options = ("--ray-address", cluster.address, "--database-url", postgres.url, "--data-dir", f"{run.folder}/data")
        first, second = (stack.enter_context(running(run, *options)) for _ in range(2))
        first.data_dir = run.folder / "data"
        tally = Tally(first, "kills and stops", run.amount(20, quick=4))
        spec = first.spec(EPOCHS)
        digest = first.undisturbed(spec)
        turns = cycle([(first, second), (second, first)])
        while not tally.enough:
            job_id = first.client.submit(spec).id
            try:
                while not tally.enough and _kill(tally, job_id, *next(turns)):
                    pass
            except Hung as hung:
                tally.lose(f"{hung}\n{first.log_tail()}\n{second.log_tail()}")
            tally.ends(job_id, digest)
        return tally.finding(WITHIN_S)


def _kill(tally: Tally, job_id: str, victim: Service, survivor: Service) -> bool:
    """Kills or stops one while the job trains, and has it there again; whether the job was still training then."""
    watch = Watch(survivor.url, job_id)
    if watch.goes_on(since=0.0) is None or watch.is_over_within(victim.run.draw.uniform(0.3, 1.5)):
        return False
    stops = victim.run.draw.random() < 0.5
    at = time.monotonic()
    if stops:
        os.kill(victim.process_id, signal.SIGSTOP)
    else:
        victim.kill()
    try:
        told_at = watch.goes_on(at)
    finally:
        if stops:
            os.kill(victim.process_id, signal.SIGCONT)
    tally.count(None if told_at is None else told_at - at)
    if not stops:
        victim.start()
    victim.wait_until_ready()
    return not watch.is_over_within(0)
