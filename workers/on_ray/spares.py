"""Started processes that wait for a job: to start one costs seconds of imports."""

import threading
from typing import Any

import ray
import ray.exceptions

from workers.on_ray.process import start_on

__all__ = ["Spares"]

SPARES_PER_NODE = 3  # enough for a job of two workers
LEFT_BESIDE_JOBS = 1  # of them, so that who is lost is replaced soon
ALIVE_WITHIN_S = 5.0  # for a spare to answer; a dead one is known sooner


class Spares:
    """The spares of all nodes."""

    def __init__(self, *, outlive: bool) -> None:
        self._outlive = outlive  # whoever makes them, as the jobs that they will compute for do
        self._by_node: dict[str, list[tuple[Any, bool]]] = {}
        self._lock = threading.Lock()

    def start(self, node_id: str) -> None:
        """Starts SPARES_PER_NODE processes on a node; returns before they have started."""
        self._fill(node_id, SPARES_PER_NODE)

    def replace(self, node_id: str) -> None:
        """Starts a process in the place of one that was ended, where there are too few; returns before it has."""
        with self._lock:
            there = len(self._by_node.get(node_id, []))
        self._fill(node_id, min(there + 1, SPARES_PER_NODE))

    def process(self, node_id: str) -> Any:
        """A spare of that node that has not died, or a process that is starting there."""
        process = self._take(node_id)
        self._fill(node_id, LEFT_BESIDE_JOBS)
        return start_on(node_id, outlives=self._outlive, hired=True) if process is None else process

    def give(self, node_id: str, process: Any, *, started: bool) -> None:
        """Keeps a process, or ends it when there are enough; one that is still starting will not answer at once."""
        with self._lock:
            waiting = self._by_node.setdefault(node_id, [])
            if len(waiting) < SPARES_PER_NODE:
                waiting.append((process, started))
                return
        ray.kill(process)

    def greet(self) -> None:
        """Lets those that outlive us know that they are still needed; else they end after SPARE_FOR_S. Forgets those of
        nodes that are gone: one that comes back has another id."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
        with self._lock:
            self._by_node = {node_id: waiting for node_id, waiting in self._by_node.items() if node_id in alive}
            everybody = [process for waiting in self._by_node.values() for process, _ in waiting]
        for process in everybody:
            process.process_id.remote()

    def forget(self) -> list[Any]:
        """Keeps none any more; tells which there were."""
        with self._lock:
            everybody = [process for waiting in self._by_node.values() for process, _ in waiting]
            self._by_node.clear()
        return everybody

    def close(self) -> None:
        """Ends them all."""
        for process in self.forget():
            ray.kill(process)

    def _take(self, node_id: str) -> Any | None:
        while True:
            with self._lock:
                waiting = self._by_node.get(node_id, [])
                if not waiting:
                    return None
                process, started = waiting.pop(0)
            answer = process.hire.remote()
            try:
                if ray.wait([answer], timeout=ALIVE_WITHIN_S if started else 0)[0]:
                    ray.get(answer)
                elif started:
                    ray.kill(process)
                    continue
            except ray.exceptions.RayActorError:
                continue
            return process

    def _fill(self, node_id: str, count: int) -> None:
        with self._lock:
            missing = count - len(self._by_node.get(node_id, []))
        for _ in range(missing):
            self.give(node_id, start_on(node_id, outlives=self._outlive, hired=False), started=False)
