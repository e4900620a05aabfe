"""How many steps a second the engine takes when a step is all coordination: the lecture's example 2 with 2 workers.

Three rows, four parameters, float64: a batch is an epoch, and each is told as an item of the job's metrics. The job's
own clock runs while it steps; from its start to its end it also prepares, tells its metrics and writes its model.
"""

import tempfile
from pathlib import Path

from benchmarks.lecture import lecture_job, upload_lecture
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, trained

__all__ = ["measure"]

AT_LEAST = 10_000.0
PROBE = 500  # epochs from which is seen how many make a run


def measure(run: Run) -> Outcome:
    """Steps/s of jobs that train for some seconds."""
    seconds = run.amount(10.0, quick=2.0)
    paces, in_all = [], []
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        upload_lecture(client, Path(folder))
        run.say("a short job, to see how long a longer one must be")
        epochs = round(trained(client, lecture_job(PROBE)).steps_per_s * seconds)
        for number in range(1, run.rounds + 1):
            run.say(f"round {number} of {run.rounds}: {epochs:,} epochs")
            training = trained(client, lecture_job(epochs))
            paces.append(training.steps_per_s)
            in_all.append(epochs / training.took_s)
    what = "the lecture's example 2, 2 workers"
    figures = [
        Figure("by the job's metrics", "Chainrule", "steps/s", Spread.of(paces)),
        Figure("by the job's start and end", "Chainrule", "steps/s", Spread.of(in_all)),
    ]
    return Outcome(figures, [Goal(what, "steps/s", AT_LEAST, Spread.of(paces))])
