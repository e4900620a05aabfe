"""A process of a job hangs (SIGSTOP), a gradient worker or the coordinator; it wakes (SIGCONT) once the job goes on.

It is given up within 15 s, its shards go elsewhere, what it says when it wakes is ignored: the same bits.
"""

import os
import signal
import time
from contextlib import suppress

from chaos.disturbances import Disturbed, disturb
from chaos.processes import of_job
from chaos.records import Finding
from chaos.run import Run
from chaos.service import running
from chaos.tally import Tally

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "hangs", run.amount(20, quick=2))

        def stop_one(job_id: str) -> Disturbed | None:
            job = of_job(run, job_id)
            victims = job.coordinators if tally.disturbances % 2 else job.workers
            if not victims:
                return None
            victim = run.draw.choice(victims)

            def wake() -> None:
                with suppress(ProcessLookupError):  # it was given up, and killed
                    os.kill(victim, signal.SIGCONT)

            try:
                os.kill(victim, signal.SIGSTOP)
            except ProcessLookupError:
                return None
            stopped_at = time.monotonic()
            return Disturbed(stopped_at, stopped_at, wake)

        disturb(service, tally, stop_one)
        return tally.finding(within_s=15.0)
