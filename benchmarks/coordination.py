"""What it costs to coordinate many workers: 2, 8, 32 and 64 of them, each pretending 50 ms of compute a step.

They sleep instead of computing, so that 64 of them fit on a few cores, and send gradients of zeros for 535,818
parameters, over the direct transport: the first in the server's process, the others each in one of its own. All else
of a step is real: the weights go out, the gradients come back, and the server updates.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.prepared import prepared
from benchmarks.problem import job, parameters
from benchmarks.processes import EndingStaff, Processes
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from shared.plan import Plan
from workers.crew import FixedCrew
from workers.direct import DirectTransport
from workers.gradient_worker import GradientWorker, Part, network_of
from workers.parameter_server import ServerState
from workers.transport import Transport

__all__ = ["SleepingWorker", "measure"]

COMPUTE_S = 0.050
COUNTS = (2, 8, 32, 64)  # of workers
SHARDS = ROWS = max(COUNTS)  # a row a shard, and a shard at least for each worker
WARM_UP = 3  # steps before the first that counts
LIMIT_MS = 60.0


class SleepingWorker(GradientWorker):
    """Takes as long as a worker that computes, and no core: its gradients are zeros."""

    def gradients(self, step: int, shards: range) -> list[Part]:
        ends_at = time.monotonic() + COMPUTE_S
        _, summing = self._work(step, shards)
        parts = [Part(node, row, 0.0) for row, node in enumerate(summing.sums)]
        time.sleep(max(0.0, ends_at - time.monotonic()))
        return parts


def sleeping_processes() -> EndingStaff:
    return Processes(SleepingWorker)


def measure(run: Run, staff_of: Callable[[], EndingStaff] = sleeping_processes) -> Outcome:
    """Milliseconds a step, by the number of workers."""
    count = run.amount(100, quick=5)
    times: dict[int, Spread] = {}
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        spec = job(ROWS, ROWS, WARM_UP + count, shards=SHARDS)
        plan, data = prepared(Path(folder), ROWS, spec)
        for workers in COUNTS:
            run.say(f"{workers} workers")
            staff = staff_of()
            transport = DirectTransport(plan, FixedCrew(staff, workers), make=SleepingWorker)
            try:
                times[workers] = Spread.of(_steps_ms(transport, plan, data, count))
            finally:
                transport.close()
                staff.join()
    figures = [Figure(f"{workers} workers", "a step", "ms", took) for workers, took in times.items()]
    most = COUNTS[-1]
    what = f"coordination: a step of {most} workers that compute {COMPUTE_S * 1e3:.0f} ms, {parameters():,} parameters"
    return Outcome(figures, [Goal(what, "ms", LIMIT_MS, times[most], at_most=True)])


def _steps_ms(transport: Transport, plan: Plan, data: Path, count: int) -> list[float]:
    """The time of each of `count` steps."""
    state = ServerState(network_of(plan).initial_parameters(plan.spec.seed))
    transport.open(plan, data, state, 0)
    transport.steps(0, WARM_UP)
    times_ms = []
    for step in range(WARM_UP, WARM_UP + count):
        began = time.perf_counter()
        transport.steps(step, 1)
        times_ms.append((time.perf_counter() - began) * 1e3)
    return times_ms
