"""Gradient workers for the direct transport without Ray: threads, or processes that may be killed."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from shared.plan import Plan
from workers.crew import Formation
from workers.direct import DirectTransport
from workers.job import AttemptLost
from workers.link import Entrance, serve
from workers.remote import Hub, KeyPair, relay


class Threads:
    """Each worker is a thread of this process."""

    def __init__(self) -> None:
        self._threads: dict[int, threading.Thread] = {}
        self._errors: dict[int, BaseException] = {}

    def start(self, worker: int, *arguments: Any) -> None:
        self.call(worker, serve, arguments[0], worker, *arguments[1:])

    def call(self, number: int, function: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                function(*arguments)
            except BaseException as error:  # noqa: BLE001  (look raises it where it is waited for)
                self._errors[number] = error

        self._threads[number] = threading.Thread(target=run, daemon=True)
        self._threads[number].start()

    def look(self, worker: int) -> None:
        if not self._threads[worker].is_alive():
            raise self._errors.get(worker, AttemptLost(f"gradient worker {worker} left"))

    def join(self) -> None:
        for thread in self._threads.values():
            thread.join(30)
            assert not thread.is_alive(), "a worker did not leave when the server hung up"


class Processes:
    """Each worker is a process."""

    def __init__(self) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._processes: dict[int, Any] = {}

    def start(self, worker: int, entrance: Entrance, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        arguments = (entrance, worker, held, workers, plan, prepared)
        self._processes[worker] = self._spawn.Process(target=serve, args=arguments, daemon=True)
        self._processes[worker].start()

    def look(self, worker: int) -> None:
        if not self._processes[worker].is_alive():
            raise AttemptLost(f"gradient worker {worker} died")

    def signal(self, worker: int, number: int) -> None:
        os.kill(self._processes[worker].pid, number)

    def kill(self, worker: int) -> None:
        self._processes[worker].kill()
        self._processes[worker].join()

    def exit_codes(self) -> list[int]:
        """How the processes ended, once all have."""
        for process in self._processes.values():
            process.join(30)
        return [process.exitcode for process in self._processes.values()]


KILLED = -signal.SIGKILL


class RelayInThread:
    """A relay whose "node" is this process."""

    def __init__(self, members: range, staff: Threads | Processes | None = None) -> None:
        self.members, self.staff = members, staff or Threads()
        self._keys = KeyPair.new()
        self.public_key = self._keys.public
        self._running = Threads()

    def start(self, hub: Hub, workers: int, plan: Plan, prepared: Path) -> None:
        self._running.call(0, relay, self._keys, hub, self.members, workers, plan, prepared, self.staff)

    def look(self) -> None:
        self._running.look(0)

    def join(self) -> None:
        self._running.join()
        if isinstance(self.staff, Threads):
            self.staff.join()


class ChangingCrew:
    """So many workers on each of several "nodes", the first of which has the server; a test changes how many."""

    def __init__(
        self, counts: Sequence[int], staff: Threads | Processes | None = None, there: Threads | Processes | None = None
    ) -> None:
        self.counts, self.staff, self._there = list(counts), staff or Threads(), there
        self.relays: list[RelayInThread] = []  # of all formations
        self._changed = False

    def resize(self, *counts: int) -> None:
        self.counts, self._changed = list(counts), True

    def changed(self) -> bool:
        return self._changed

    def muster(self, accused: Sequence[int] = ()) -> Formation:
        bounds = self._bounds()
        for number in accused[:1]:
            node = next(node for node, members in enumerate(bounds) if number in members)
            assert number or node, "the first worker is the server's own"
            self.counts[node] -= 1
        here, *others = self._bounds()
        self._changed = False
        relays = [RelayInThread(members, self._there) for members in others if members]
        self.relays += relays
        return Formation(here, self.staff, relays, accused[:1])

    def _bounds(self) -> list[range]:
        stops = list(accumulate(self.counts, initial=0))
        return [range(start, stop) for start, stop in pairwise(stops)]


def direct(plan: Plan, counts: Sequence[int], staff: Threads | Processes | None = None) -> DirectTransport:
    """A direct transport with so many workers on each of several "nodes", the first of which has the server."""
    return DirectTransport(plan, ChangingCrew(counts, staff), "127.0.0.1")
