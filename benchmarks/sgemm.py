"""What share of the cores' speed training reaches.

The two cores' speed is that of numpy's float32 matrix product in two processes at once, one BLAS thread each, with the
BLAS kernel that a job's workers run: on large squares, which is the bound, and on the network's own products as a shard
of a batch of 8,192 has them. It takes turns with jobs at that batch, whose samples/s times the operations of a sample's
products are what training reaches. All else that a step does counts as lost.
"""

import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.problem import SHARDS, WIDTHS, WORKERS, flop_per_sample, job, upload
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, trained
from benchmarks.together import Start, together

__all__ = ["measure"]

BATCH = 8_192
SHARE = 85.0  # percent
SQUARE = (2_048, 2_048, 2_048)

Shape = tuple[int, int, int]  # rows, inner, columns of a product


def shapes() -> dict[str, Shape]:
    """The products that are measured, by name: a square, and those of each layer in one shard."""
    rows = BATCH // SHARDS
    found = {"square": SQUARE}
    for before, after in pairwise(WIDTHS):
        found[f"{before} → {after}, forward"] = (rows, before, after)
        found[f"{before} → {after}, gradient by weights"] = (before, rows, after)
        if before != WIDTHS[0]:
            found[f"{before} → {after}, gradient by inputs"] = (rows, after, before)
    return found


def measure(run: Run) -> Outcome:
    """GFLOP/s of products and of training, in turns."""
    rows, epochs, seconds = run.amount(65_536, quick=16_384), run.amount(5, quick=4), run.amount(1.0, quick=0.2)
    measured: dict[str, list[float]] = {name: [] for name in shapes()}
    training: list[float] = []
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        upload(client, Path(folder), rows)
        for number in range(1, run.rounds + 1):
            run.say(f"round {number} of {run.rounds}: matrix products")
            for name, gflops in _both_cores(seconds).items():
                measured[name].append(gflops)
            run.say(f"round {number} of {run.rounds}: training")
            pace = trained(client, job(rows, BATCH, epochs + 1)).steps_per_s * BATCH
            training.append(pace * flop_per_sample() / 1e9)
    figures = [Figure(_with_shape(name), "two cores", "GFLOP/s", Spread.of(each)) for name, each in measured.items()]
    figures.append(Figure(f"training, batch {BATCH:,}", "two cores", "GFLOP/s", Spread.of(training)))
    shares = [100 * reached / bound for reached, bound in zip(training, measured["square"], strict=True)]
    goal = Goal(f"share of the cores' measured SGEMM rate, batch {BATCH:,}", "%", SHARE, Spread.of(shares))
    return Outcome(figures, [goal], [f"a sample's products take {flop_per_sample():,} floating-point operations"])


def _with_shape(name: str) -> str:
    rows, inner, columns = shapes()[name]
    return f"{name} ({rows:,} × {inner:,} · {inner:,} × {columns:,})"


def _both_cores(seconds: float) -> dict[str, float]:
    """GFLOP/s of each product, of both processes together."""
    found = together(WORKERS, partial(_one_core, seconds))
    return {name: sum(each[name] for each in found) for name in shapes()}


def _one_core(seconds: float, start: Start, _number: int) -> dict[str, float]:
    """GFLOP/s of each product in this process, while another one computes the same."""
    found = {}
    random = np.random.default_rng(0)
    for name, (rows, inner, columns) in shapes().items():
        a, b = random.standard_normal((rows, inner), np.float32), random.standard_normal((inner, columns), np.float32)
        out = np.empty((rows, columns), np.float32)
        np.matmul(a, b, out=out)
        start()
        count, began = 0, time.perf_counter()
        while (took_s := time.perf_counter() - began) < seconds:
            np.matmul(a, b, out=out)
            count += 1
        found[name] = count * 2e-9 * rows * inner * columns / took_s
    return found
