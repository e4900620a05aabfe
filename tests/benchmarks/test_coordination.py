"""Workers that pretend to compute, as threads of this process."""

from typing import Any

from benchmarks.coordination import COMPUTE_S, COUNTS, SleepingWorker, measure
from benchmarks.run import Run
from support.staff import Threads


class SleepingThreads(Threads):
    """Workers of the sleeping kind."""

    def start(self, worker: int, *arguments: Any) -> None:
        super().start(worker, *arguments, SleepingWorker)


def test_a_step_of_any_number_of_workers_takes_their_compute_and_what_comes_on_top() -> None:
    outcome = measure(Run(lambda _: None, quick=True), SleepingThreads)
    assert [figure.row for figure in outcome.figures] == [f"{workers} workers" for workers in COUNTS]
    assert all(figure.measured.low >= COMPUTE_S * 1e3 for figure in outcome.figures)
    assert [goal.measured for goal in outcome.goals] == [outcome.figures[-1].measured]
