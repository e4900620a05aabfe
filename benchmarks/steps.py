"""How many steps a second the engine takes when a step is all coordination: the lecture's example 2 with 2 workers.

Three rows, four parameters, float64: a batch is an epoch, and each is told as an item of the job's metrics.
"""

import tempfile
from pathlib import Path

from benchmarks.lecture import lecture_job, upload_lecture
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, steps_per_s

__all__ = ["measure"]

AT_LEAST = 10_000.0
PROBE = 500  # epochs from which is seen how many make a run


def measure(run: Run) -> Outcome:
    """Steps/s of jobs that train for some seconds."""
    seconds = run.amount(10.0, quick=2.0)
    paces = []
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        upload_lecture(client, Path(folder))
        run.say("a short job, to see how long a longer one must be")
        epochs = round(steps_per_s(client, lecture_job(PROBE)) * seconds)
        for number in range(1, run.rounds + 1):
            run.say(f"round {number} of {run.rounds}: {epochs:,} epochs")
            paces.append(steps_per_s(client, lecture_job(epochs)))
    measured = Spread.of(paces)
    what = "the lecture's example 2, 2 workers"
    return Outcome([Figure(what, "Chainrule", "steps/s", measured)], [Goal(what, "steps/s", AT_LEAST, measured)])
