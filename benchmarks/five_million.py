"""What a step of a large network costs beyond its mathematics: 5 million parameters, batches of 256.

Twenty megabytes of weights go out and as many of gradients come back from each of two workers. The time of a job's step
is measured through the service. The workers' compute is measured by itself, in turns with it: two processes at the
same time do for each step what a job's two workers do, the gradients of 4 of the 8 shards of a batch each, with the
weights at hand and nothing sent. What is left of the step is transport, the server's update, and waiting. The least
that the update can take is what it must move (it reads weights, two moments and two gradients, and writes weights and
moments) over the speed at which both cores together add vectors of that size.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.prepared import prepared
from benchmarks.problem import SHARDS, WORKERS, job, parameters, upload
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, trained
from benchmarks.together import Start, together
from shared.plan import Plan
from shared.sharding import assign
from workers.gradient_worker import GradientWorker, gradient_rows, network_of

__all__ = ["measure"]

WIDTHS = (784, 1_872, 1_872, 10)
ROWS, BATCH = 8_192, 256
LIMIT_MS = 4.0
MOVED = 8  # vectors that Adam must read or write in a step of two workers
ADDITIONS = 50
ADDED = 3  # vectors that an addition in place reads or writes


def measure(run: Run) -> Outcome:
    """Milliseconds of a job's step, of its compute, the difference, and the least of its update."""
    epochs = run.amount(6, quick=2)
    spec = job(ROWS, BATCH, epochs + 1, WIDTHS)
    steps_ms: list[float] = []
    compute_ms: list[float] = []
    floor_ms: list[float] = []
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        upload(client, Path(folder), ROWS)
        plan, data = prepared(Path(folder), ROWS, spec)
        for number in range(1, run.rounds + 1):
            run.say(f"round {number} of {run.rounds}: a job")
            steps_ms.append(1e3 / trained(client, spec).steps_per_s)
            run.say(f"round {number} of {run.rounds}: its compute")
            compute_ms.append(max(together(WORKERS, partial(_compute_ms, plan, data))))
            added_ms = max(together(WORKERS, partial(_added_ms, plan.parameters)))  # so many vectors side by side
            floor_ms.append(MOVED / (WORKERS * ADDED) * added_ms)
    beyond = Spread.of([step - compute for step, compute in zip(steps_ms, compute_ms, strict=True)])
    what = f"{parameters(WIDTHS):,} parameters, batch {BATCH}"
    figures = [
        Figure(what, name, "ms", measured)
        for name, measured in (
            ("a step", Spread.of(steps_ms)),
            ("the slower worker's compute", Spread.of(compute_ms)),
            ("beyond compute", beyond),
            ("the update's least, by memory", Spread.of(floor_ms)),
        )
    ]
    goal = Goal(f"step time beyond the workers' compute, {what}", "ms", LIMIT_MS, beyond, at_most=True)
    return Outcome(figures, [goal])


def _added_ms(size: int, start: Start, _number: int) -> float:
    """What an addition of two vectors of so many numbers takes."""
    total, other = np.ones(size, np.float32), np.ones(size, np.float32)
    np.add(total, other, total)
    start()
    times = []
    for _ in range(ADDITIONS):
        began = time.perf_counter()
        np.add(total, other, total)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3


def _compute_ms(plan: Plan, data: Path, start: Start, number: int) -> float:
    """What worker `number` takes for a step of the second epoch, on average."""
    weights, mine = network_of(plan).initial_parameters(plan.spec.seed), assign(SHARDS, WORKERS)[number]
    gradients = np.empty((gradient_rows(plan, WORKERS)[number], plan.parameters), weights.dtype)
    worker = GradientWorker(plan, data, weights, gradients)
    for step in range(plan.steps_per_epoch):
        worker.gradients(step, mine)
    start()
    began = time.perf_counter()
    for step in range(plan.steps_per_epoch, 2 * plan.steps_per_epoch):
        worker.gradients(step, mine)
    return (time.perf_counter() - began) * 1e3 / plan.steps_per_epoch
