"""What reproducibility costs: a batch of 2,048 cut into 8 shards, against the 2 that two workers would need.

More shards are smaller products and more sums. With 8 of them, 1, 2, 4 and 8 workers end with the same bits.
"""

import tempfile
from pathlib import Path

from benchmarks.problem import SHARDS, WORKERS, job, upload
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, trained

__all__ = ["measure"]

BATCH = 2_048
LIMIT = 10.0  # percent


def measure(run: Run) -> Outcome:
    """Samples/s with either number of shards, in turns."""
    rows, epochs = run.amount(65_536, quick=16_384), run.amount(5, quick=4)
    paces: dict[int, list[float]] = {WORKERS: [], SHARDS: []}
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        upload(client, Path(folder), rows)
        for number in range(1, run.rounds + 1):
            for shards, found in paces.items():
                run.say(f"round {number} of {run.rounds}: {shards} shards")
                found.append(trained(client, job(rows, BATCH, epochs + 1, shards=shards)).steps_per_s * BATCH)
    figures = [
        Figure(f"{shards} shards", "Chainrule", "samples/s", Spread.of(found)) for shards, found in paces.items()
    ]
    costs = [100 * (1 - many / few) for few, many in zip(paces[WORKERS], paces[SHARDS], strict=True)]
    what = f"cost of reproducibility: shards {SHARDS} against {WORKERS}, batch {BATCH:,}"
    return Outcome(figures, [Goal(what, "%", LIMIT, Spread.of(costs), at_most=True)])
