"""How soon a job trains: from sending it to seeing its first step on its event stream, on a service that is warm.

One small job after the other, each with 2 workers, the next one when the one before has ended. Warm means that the
service has run jobs before.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.problem import job, upload
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service
from chainrule import Client

__all__ = ["measure"]

ROWS, BATCH, EPOCHS = 1_000, 100, 5
WARM_UP = 3  # jobs before the first that counts
P50_MS, P95_MS = 150.0, 400.0


def measure(run: Run) -> Outcome:
    """Milliseconds from sending a job to its first step."""
    jobs = run.amount(50, quick=10)
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        upload(client, Path(folder), ROWS)
        times_ms = []
        for number in range(1, WARM_UP + jobs + 1):
            run.say(f"job {number} of {WARM_UP + jobs}")
            times_ms.append(_first_step_ms(client, job(ROWS, BATCH, EPOCHS)))
    middle, slow = (Spread.of(times_ms[WARM_UP:], quantile) for quantile in (0.5, 0.95))
    figures = [Figure("p50", "submit to first step", "ms", middle), Figure("p95", "submit to first step", "ms", slow)]
    goals = [
        Goal("submit to first step, warm, small job: p50", "ms", P50_MS, middle, at_most=True),
        Goal("submit to first step, warm, small job: p95", "ms", P95_MS, slow, at_most=True),
    ]
    return Outcome(figures, goals, [f"{jobs} jobs, after {WARM_UP} that are not counted"])


def _first_step_ms(client: Client, spec: dict[str, Any]) -> float:
    """Runs a job to its end. Raises BenchmarkFailed when it has no first step."""
    took_ms = None
    began = time.perf_counter()
    submitted = client.submit(spec)
    for event in client.events(submitted.id):
        if took_ms is None and event.type == "progress" and event.data["step"] > 0:
            took_ms = (time.perf_counter() - began) * 1e3
    if took_ms is None:
        ended = client.job(submitted.id)
        raise BenchmarkFailed(f"a job took no step: got {ended.state} ({ended.reason}), expected succeeded")
    return took_ms
