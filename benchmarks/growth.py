"""Whether a step costs the same as work grows: ten times the rows, a hundred times the epochs.

More rows: the network that is trained elsewhere here, at batch 2,048. More epochs: the lecture's example 2, whose epoch
is one step; the short job is as long as the engine takes for half a second. Small and large take turns.
"""

import tempfile
from pathlib import Path

from benchmarks.lecture import lecture_job, upload_lecture
from benchmarks.problem import job, upload
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, trained
from chainrule import Client

__all__ = ["measure"]

BATCH = 2_048
ROWS_TIMES, EPOCHS_TIMES = 10, 100
MOST_EPOCHS = 2_000  # of the small one: a hundred times as many are still written within a minute
PROBE = 500  # epochs from which is seen how many make a run
AT_LEAST = 95.0  # percent of the small one's pace


def measure(run: Run) -> Outcome:
    """The paces of small and large jobs."""
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        rows, epochs = _rows(run, client, Path(folder)), _epochs(run, client, Path(folder))
    return Outcome([*rows.figures, *epochs.figures], [*rows.goals, *epochs.goals])


def _rows(run: Run, client: Client, folder: Path) -> Outcome:
    """Both jobs take about as many steps."""
    small, epochs = run.amount(16_384, quick=4_096), run.amount(3, quick=1)
    sizes = {small: epochs * ROWS_TIMES, small * ROWS_TIMES: epochs}
    paces: dict[int, list[float]] = {rows: [] for rows in sizes}
    for rows in sizes:
        upload(client, folder, rows)
    for number in range(1, run.rounds + 1):
        for rows, count in sizes.items():
            run.say(f"round {number} of {run.rounds}: {rows:,} rows")
            paces[rows].append(trained(client, job(rows, BATCH, count + 1)).steps_per_s * BATCH)
    named = {f"{rows:,} rows": found for rows, found in paces.items()}
    return _compared(named, "the network", "samples/s", f"{ROWS_TIMES}× the rows")


def _epochs(run: Run, client: Client, folder: Path) -> Outcome:
    upload_lecture(client, folder)
    run.say("a short job, to see how many epochs make a run")
    seconds = run.amount(0.5, quick=0.1)
    small = min(round(trained(client, lecture_job(PROBE)).steps_per_s * seconds), MOST_EPOCHS)
    paces: dict[int, list[float]] = {small: [], small * EPOCHS_TIMES: []}
    for number in range(1, run.rounds + 1):
        for epochs, found in paces.items():
            run.say(f"round {number} of {run.rounds}: {epochs:,} epochs")
            found.append(trained(client, lecture_job(epochs)).steps_per_s)
    named = {f"{epochs:,} epochs": found for epochs, found in paces.items()}
    return _compared(named, "the lecture's example 2", "steps/s", f"{EPOCHS_TIMES}× the epochs")


def _compared(paces: dict[str, list[float]], column: str, unit: str, what: str) -> Outcome:
    """The figures of a small and a large job, and the goal for the large one's share of the small one's pace."""
    few, many = paces.values()
    shares = Spread.of([100 * large / small for small, large in zip(few, many, strict=True)])
    figures = [Figure(row, column, unit, Spread.of(found)) for row, found in paces.items()]
    return Outcome(figures, [Goal(f"{unit} at {what}, of the small one", "%", AT_LEAST, shares)])
