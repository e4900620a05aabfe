"""What a checkpoint costs the steps: how long they wait for the copy, and the longest step while it is written.

Two processes train over the direct transport, as in a job, and every step is timed by itself. The state, three vectors
with Adam, is copied between two steps, and hashed, written to disk and flushed by a process of its own while the steps
go on; it gives way to them, but for a tenth of a CPU. The longest step while it writes
is set against the usual one, and beside it stands how much longer than usual the longest of as many steps is without a
checkpoint: what the machine does by itself.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.five_million import WIDTHS as FIVE_MILLION
from benchmarks.prepared import prepared
from benchmarks.problem import WIDTHS, WORKERS, job, parameters
from benchmarks.processes import Processes
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from shared.plan import Plan
from workers.checkpoint import Checkpoint
from workers.checkpoint_process import CheckpointProcess
from workers.checkpoint_writer import CheckpointWriter
from workers.crew import FixedCrew
from workers.direct import DirectTransport
from workers.gradient_worker import network_of
from workers.parameter_server import ServerState
from workers.storage import Folder

__all__ = ["measure"]

BATCH, ROWS = 512, 8_192
LIMIT_MS = 5.0
WARM_UP = 50
SWITCH_INTERVAL_S = 0.0005  # as in a job's processes: workers/cluster.py


class Cost(NamedTuple):
    """Of one checkpoint, in ms."""

    usual: float  # the median step without one
    copy: float
    stall: float  # by how much the longest step while it was written was longer than usual
    noise: float  # the same of as many steps without one
    delay: float  # by how much all steps meanwhile were longer than usual
    written_after: float


def measure(run: Run) -> Outcome:
    """Milliseconds, by the number of parameters."""
    figures, goals = [], []
    for widths in (WIDTHS, FIVE_MILLION):
        run.say(f"{parameters(widths):,} parameters")
        found = _costs(run.amount(12, quick=2), widths)
        what = f"{parameters(widths):,} parameters"
        columns = {
            "a step": [cost.usual for cost in found],
            "the copy": [cost.copy for cost in found],
            "longest step while it is written, beyond the usual": [cost.stall for cost in found],
            "the same without a checkpoint": [cost.noise for cost in found],
            "all steps meanwhile, beyond the usual": [cost.delay for cost in found],
            "until it is on disk": [cost.written_after for cost in found],
        }
        figures += [Figure(what, name, "ms", Spread.of(values)) for name, values in columns.items()]
        stall = Spread.of(columns["longest step while it is written, beyond the usual"])
        goals.append(Goal(f"a checkpoint stalls a step, {what}", "ms", LIMIT_MS, stall, at_most=True))
    return Outcome(figures, goals)


def _costs(count: int, widths: tuple[int, ...]) -> list[Cost]:
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as name:
        folder = Path(name)
        plan, data = prepared(folder, ROWS, job(ROWS, BATCH, 10_000, widths))
        with _training(plan, data) as transport, _switching(SWITCH_INTERVAL_S):
            steps = _Steps(transport)
            steps.take(WARM_UP)
            return [_cost(steps, folder / "checkpoints") for _ in range(count)]


def _cost(steps: "_Steps", folder: Path) -> Cost:
    """One checkpoint, of a writer of its own whose buffers are made, as from an attempt's first checkpoint on."""
    told: list[str] = []
    starts = partial(CheckpointProcess, None, folder)
    writer = CheckpointWriter(Folder(folder), None, 0.0, lambda kind, **_: told.append(kind), time.monotonic, starts)
    try:
        while not writer.is_due(steps.transport.state()):
            steps.take(1)
        began = time.perf_counter()
        writer.begin(Checkpoint(steps.number, steps.transport.state(), {}))
        copied = time.perf_counter()
        meanwhile: list[float] = []
        while not told:
            meanwhile += steps.take(1)
        written = time.perf_counter()
    finally:
        writer.close()
    if told != ["checkpoint"]:
        raise BenchmarkFailed("the checkpoint could not be written")
    alone = steps.take(max(len(meanwhile), WARM_UP))
    usual = median(alone)
    return Cost(
        usual,
        (copied - began) * 1e3,
        max(meanwhile) - usual,
        max(alone[: len(meanwhile)]) - usual,
        sum(meanwhile) - usual * len(meanwhile),
        (written - copied) * 1e3,
    )


class _Steps:
    """Takes one step after the other, and tells how long each took."""

    def __init__(self, transport: DirectTransport) -> None:
        self.transport, self.number = transport, 0

    def take(self, count: int) -> list[float]:
        """The time of each of the next `count` steps, in ms."""
        times_ms = []
        for _ in range(count):
            began = time.perf_counter()
            self.transport.steps(self.number, 1)
            times_ms.append((time.perf_counter() - began) * 1e3)
            self.number += 1
        return times_ms


@contextmanager
def _training(plan: Plan, data: Path) -> Iterator[DirectTransport]:
    staff = Processes()
    transport = DirectTransport(plan, FixedCrew(staff, WORKERS))
    try:
        transport.open(plan, data, ServerState(network_of(plan).initial_parameters(0)), 0)
        yield transport
    finally:
        transport.close()
        staff.join()


@contextmanager
def _switching(interval_s: float) -> Iterator[None]:
    """Threads take turns as often as in a job's processes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval_s)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
