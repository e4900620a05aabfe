"""The direct transport: vectors lie in memory that server and workers share, and a socket message is the doorbell.

Workers on other nodes are reached through one relay a node (`workers/remote.py`), which sends one sum up.
"""

import os
from collections.abc import Sequence

from shared.metrics import SliceMeasure
from shared.plan import Plan
from workers.gradient_worker import Part
from workers.link import Links, Staff, unpack_measure
from workers.remote import RemoteNode, RemoteNodes
from workers.transport import Memory, Transport

__all__ = ["DirectTransport"]


class DirectTransport(Transport):
    """Workers of this node, reached through `links`, and of the `remote` nodes, which find this one at `address`."""

    def __init__(self, links: Links, staff: Staff, remote: Sequence[RemoteNode] = (), address: str = "") -> None:
        super().__init__(links.workers)
        self._links, self._staff = links, staff
        # While the server steps, the other workers do little but wait, so their CPUs are free to help.
        self._threads = min(len(links.members), len(os.sched_getaffinity(0)))
        self._remote = RemoteNodes(remote, address) if remote else None

    def _memory(self, plan: Plan) -> Memory:
        return self._links.memory

    def _connect(self) -> None:
        if self._remote is not None:
            self._remote.start(self._count, self._plan, self._prepared, self.heed)
        self._links.open(self._staff, self._prepared, self.heed)
        if self._remote is not None:
            self._remote.accept()

    def kernels(self) -> set[str]:
        return self._links.kernels | (set() if self._remote is None else self._remote.kernels)

    def _parts(self, step: int) -> list[Part]:
        if self._remote is None:
            return self._links.gradients(step)
        self._remote.ask_for_gradients(step, self._vectors.parameters)
        return self._links.gradients(step) + self._remote.parts(step, self._vectors)

    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        if self._remote is not None:
            self._remote.ask_for_measures(self._vectors.parameters)
        found = self._links.measures() + ([] if self._remote is None else self._remote.measures())
        return [(index, unpack_measure(packed)) for index, packed in found]

    def close(self) -> None:
        super().close()
        self._links.close()
        if self._remote is not None:
            self._remote.close()
