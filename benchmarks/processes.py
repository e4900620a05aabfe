"""Gradient workers in processes of their own, for the direct transport without Ray."""

import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from benchmarks.records import BenchmarkFailed
from shared.plan import Plan
from workers.gradient_worker import GradientWorker
from workers.link import Entrance, Staff, serve

__all__ = ["EndingStaff", "Processes"]


class EndingStaff(Staff, Protocol):
    """Workers that leave when they are hung up on, and can be waited for."""

    def join(self) -> None:
        """Returns when all have ended."""


class Processes:
    """Each worker is a process; they are forked from one that has imported all that they need."""

    def __init__(self, make: type[GradientWorker] = GradientWorker) -> None:
        self._make = make
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([make.__module__])
        self._running: dict[int, BaseProcess] = {}

    def start(self, worker: int, entrance: Entrance, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        arguments = (entrance, worker, held, workers, plan, prepared, self._make)
        self._running[worker] = self._context.Process(target=serve, args=arguments)
        self._running[worker].start()

    def look(self, worker: int) -> None:
        if not self._running[worker].is_alive():
            raise BenchmarkFailed(f"worker {worker} ended with {self._running[worker].exitcode}")

    def join(self) -> None:
        for process in self._running.values():
            process.join()
