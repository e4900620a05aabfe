"""The way of the data: a CSV file becomes a data set, tables become matrices, a worker trains on one of gigabytes.

The first and the last run in a process of their own, on which the memory is read: the peak that the kernel noted for
the whole process (VmHWM) for the first, the peak of what it holds to itself (RssAnon, read every 5 ms) for the last,
since the matrix is mapped and its pages are the node's. The narrow matrix has 78 times the rows of the wide one: its
order alone would be larger than what a worker may have.
"""

from typing import Any

from benchmarks import big_matrix, ingest, prepare
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run

__all__ = ["measure"]

LEAST_MB_PER_S = 100.0
INGEST_RSS_MB = 1_000.0
WORKER_PRIVATE_MB = 500.0
COLUMNS = {"wide": 784, "narrow": 10}


def measure(run: Run) -> Outcome:
    """MB/s of ingest, rows/s of preparing, and the memory of ingest and of training."""
    size = run.amount(10**9, quick=10**8)
    ingested = []
    for number in range(1, run.rounds + 1):
        run.say(f"file {number} of {run.rounds}")
        ingested.append(ingest.measure(size))
    speed, peak = (_spread(ingested, name) for name in ("megabytes_per_s", "peak_rss_megabytes"))
    what = f"CSV of {size / 1e9:g} GB, 10 mixed columns"
    figures = [Figure(what, "MB/s", "MB/s", speed), Figure(what, "peak RSS", "MB", peak)]
    goals = [
        Goal(f"ingest with profile, {what}", "MB/s", LEAST_MB_PER_S, speed),
        Goal(f"peak RSS of it, {what}", "MB", INGEST_RSS_MB, peak, at_most=True),
    ]
    figures += [_prepared(run, kind) for kind in prepare.TABLES]
    matrix = run.amount(8 * 10**9, quick=2 * 10**8)
    for name, columns in COLUMNS.items():
        run.say(f"a {name} matrix")
        told = big_matrix.measure(matrix, columns)
        row = f"matrix of {matrix / 1e9:g} GB, {columns} columns"
        private = Spread.of([told["peak_private_megabytes"]])
        figures += [
            Figure(row, "private memory", "MB", private),
            Figure(row, "rows/s", "rows/s", Spread.of([float(told["rows_per_s"])])),
        ]
        goals.append(Goal(f"a worker's private memory, {row}", "MB", WORKER_PRIVATE_MB, private, at_most=True))
    return Outcome(figures, goals)


def _prepared(run: Run, kind: str) -> Figure:
    run.say(f"a table of {kind}")
    rows = run.amount(1_000_000, quick=10_000) // (10 if kind.startswith("images") else 1)
    found = [prepare.measure(kind, rows, threads=2) for _ in range(run.rounds)]
    return Figure(f"{rows:,} rows of {kind}, prepared by two threads", "rows/s", "rows/s", _spread(found, "rows_per_s"))


def _spread(found: list[dict[str, Any]], name: str) -> Spread:
    return Spread.of([float(each[name]) for each in found])
