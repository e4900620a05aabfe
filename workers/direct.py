"""The direct transport: vectors lie in memory that server and workers share, and a socket message is the doorbell."""

from pathlib import Path
from typing import Protocol

from shared.metrics import SliceMeasure
from shared.plan import Plan
from workers.gradient_worker import Part
from workers.link import Entrance, Links, unpack_measure
from workers.transport import Memory, Transport, busy, slices_of

__all__ = ["DirectTransport", "Staff"]


class Staff(Protocol):
    """The gradient workers' processes, as whoever supervises them offers them."""

    def start(self, worker: int, entrance: Entrance, members: range, workers: int, plan: Plan, prepared: Path) -> None:
        """Has a worker's process call `workers.link.serve`; returns at once."""

    def look(self, worker: int) -> None:
        """Raises what ended a worker's process, or AttemptLost, if it has ended."""


class DirectTransport(Transport):
    """All workers on this node, reached through `links`."""

    def __init__(self, links: Links, staff: Staff) -> None:
        super().__init__(len(links.members))
        self._links, self._staff = links, staff
        self._threads = len(links.members)  # the workers' CPUs idle while the server steps

    def _memory(self, plan: Plan) -> Memory:
        return self._links.memory

    def _connect(self) -> None:
        for worker in self._links.members:
            self._staff.start(
                worker, self._links.entrance, self._links.members, self._count, self._plan, self._prepared
            )
        self._links.accept(self._staff.look)

    def _parts(self, step: int) -> list[Part]:
        links, look = self._links, self._staff.look
        working = busy(self._plan, step, self._count)
        for worker, shards in working:
            links.ask_for_gradients(worker, step, shards, look)
        return [part for worker, _ in working for part in links.parts(worker, step, look)]

    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        links, look = self._links, self._staff.look
        working = [(worker, mine) for worker, mine in enumerate(slices_of(self._plan, self._count)) if mine]
        for worker, mine in working:
            links.ask_for_measures(worker, mine, look)
        found = [pair for worker, mine in working for pair in links.measures(worker, mine, look)]
        return [(index, unpack_measure(packed)) for index, packed in found]

    def close(self) -> None:
        self._links.close()
