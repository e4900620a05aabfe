"""Measures in several new processes at the same time, as the workers of a job compute at the same time."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from benchmarks.records import BenchmarkFailed

__all__ = ["Start", "together"]

STARTS_WITHIN_S = 120.0

Start = Callable[[], object]
"""Returns once every process is ready: each calls it when it has set up, and then measures."""

Result = TypeVar("Result")
_barrier: threading.Barrier  # of this process, when it is one of those that measure


def together(processes: int, measure: Callable[[Start, int], Result]) -> list[Result]:
    """What `measure(start, number)` returns in each process, for the numbers from 0 on. Raises BenchmarkFailed."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes, timeout=STARTS_WITHIN_S)
    with ProcessPoolExecutor(processes, context, initializer=_keep, initargs=(barrier,)) as pool:
        futures = [pool.submit(_measured, measure, number) for number in range(processes)]
    failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        cause = next((error for error in failures if not isinstance(error, threading.BrokenBarrierError)), failures[0])
        raise BenchmarkFailed(f"a process that measures failed: {cause!r}") from cause
    return [future.result() for future in futures]


def _keep(barrier: threading.Barrier) -> None:
    global _barrier
    _barrier = barrier


def _measured(measure: Callable[[Start, int], Result], number: int) -> Result:
    try:
        return measure(_barrier.wait, number)
    except BaseException:
        _barrier.abort()  # the others need not wait for this one
        raise
