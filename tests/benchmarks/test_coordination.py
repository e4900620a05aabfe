"""Workers that pretend to compute, over a transport of threads in this process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.coordination import COMPUTE_S, COUNTS, measure
from benchmarks.run import Run
from shared.plan import Plan
from shared.sharding import Node
from workers.gradient_worker import GradientWorker, Part
from workers.parameter_server import ParameterServer, ServerState
from workers.transport import LocalTransport, Transport, busy


class ThreadedTransport(LocalTransport):
    """The workers of one step at the same time."""

    def __init__(self, workers: int, kind: type[GradientWorker], pool: ThreadPoolExecutor) -> None:
        super().__init__(workers)
        self._kind, self._pool = kind, pool

    def open(self, plan: Plan, prepared: Path, state: ServerState, next_step: int) -> None:
        self._plan, self._server = plan, ParameterServer(plan, state, next_step)
        self._workers = [self._kind(plan, prepared) for _ in range(self._count)]

    def _step(self, step: int) -> float:
        def gradients(asked: tuple[int, list[int]]) -> dict[Node, Part]:
            worker, shards = asked
            return self._workers[worker].gradients(self._server.parameters, step, shards)

        answers = self._pool.map(gradients, busy(self._plan, step, self._count))
        return self._server.step(step, {node: part for answer in answers for node, part in answer.items()})


@contextmanager
def threads(workers: int, kind: type[GradientWorker]) -> Iterator[Transport]:
    with ThreadPoolExecutor(workers) as pool:
        yield ThreadedTransport(workers, kind, pool)


def test_a_step_of_any_number_of_workers_takes_their_compute_and_what_comes_on_top() -> None:
    outcome = measure(Run(lambda _: None, quick=True), threads)
    assert [figure.row for figure in outcome.figures] == [f"{workers} workers" for workers in COUNTS]
    assert all(figure.measured.low >= COMPUTE_S * 1e3 for figure in outcome.figures)
    assert [goal.measured for goal in outcome.goals] == [outcome.figures[-1].measured]
