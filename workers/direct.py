"""The direct transport: vectors lie in memory that server and workers share, and a socket message is the doorbell.

Workers on other nodes are reached through one relay a node (`workers/remote.py`), which sends one sum up.

When somebody is lost, hangs or lags, the others go on in the same step: everybody is hung up on, who is left forms up
anew around new memory, and the step, whose weights have not changed, is computed again. What a process that was given
up may still write goes into the old memory, which nobody reads. Those who come or leave are taken in and let go in
the same way, between two steps.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.metrics import SliceMeasure
from shared.plan import Plan
from workers.crew import Crew
from workers.deadline import Deadline
from workers.gradient_worker import GradientWorker, Part
from workers.job import WorkerLost
from workers.link import Links, unpack_measure
from workers.remote import RemoteNodes
from workers.transport import Change, Transport, Vectors

__all__ = ["DirectTransport"]

T = TypeVar("T")


class DirectTransport(Transport):
    """Workers that `crew` musters, on this node and others, which find this one at `address`.

    Raises OSError when the memory for the vectors cannot be had.
    """

    def __init__(self, plan: Plan, crew: Crew, address: str = "", make: type[GradientWorker] = GradientWorker) -> None:
        # While the server steps, the workers of this node do little but wait, so their CPUs are free to help.
        super().__init__(threads=min(plan.spec.workers.max, len(os.sched_getaffinity(0))))
        self._crew, self._address, self._make = crew, address, make
        self._deadline = Deadline(plan)
        self._changes: list[Change] = []
        self._have_computed: set[int] = set()
        if gone := self._form(plan):
            there = list(self._members)
            self._changes.append(Change(self.workers, _told(0, gone), gone, there, there, in_vain=gone))

    def _form(self, plan: Plan, accused: Sequence[int] = ()) -> Sequence[int]:
        """Makes the memory for those who are there; tells who has gone."""
        formation = self._crew.muster(accused)
        everybody = range(formation.workers)
        self._staff, self._members = formation.staff, formation.members
        self._links = Links(plan, formation.here, everybody, len(everybody), self._make, self._deadline)
        self._remote = RemoteNodes(formation.remote, self._address, self._deadline) if formation.remote else None
        self._joined = self._has_computed = False
        return formation.gone

    @property
    def workers(self) -> int:
        return self._links.workers

    @property
    def members(self) -> Sequence[int]:
        return self._members

    def _make_vectors(self) -> Vectors:
        return self._links.vectors

    def _connect(self) -> None:
        self._going_on(lambda: None)

    def _going_on(self, work: Callable[[], T]) -> T:
        """What `work` returns, which is begun anew, by those who are left, whenever somebody is lost."""
        while True:
            try:
                if not self._joined:
                    self._join()
                return work()
            except WorkerLost as loss:
                self._form_anew(f"{loss}; its shards went to the others", loss.workers)

    def _join(self) -> None:
        if self._remote is not None:
            self._remote.start(self._links.workers, self._plan, self._prepared, self.heed)
        self._links.open(self._staff, self._prepared, self.heed)
        if self._remote is not None:
            self._remote.accept()
        self._joined = True

    def _form_anew(self, why: str = "", accused: Sequence[int] = ()) -> None:
        self._hang_up()
        before = list(self._members)
        if self._has_computed:
            self._have_computed.update(before)
        gone = self._form(self._plan, accused)
        in_vain = [number for number in gone if number not in self._have_computed]
        self._have_computed.difference_update(gone)  # their numbers may be given to others
        self._opened().move(self._links.vectors.parameters, self._links.vectors.gradients)
        self._vectors = self._links.vectors
        told = why or _told(self.workers - len(before), gone)
        self._changes.append(Change(self.workers, told, gone, before, list(self._members), bool(why), in_vain))

    def regroup(self) -> list[Change]:
        if self._crew.changed():
            self._form_anew()
        told, self._changes = self._changes, []
        return told

    def kernels(self) -> set[str]:
        return self._links.kernels | (set() if self._remote is None else self._remote.kernels)

    def _parts(self, step: int) -> list[Part]:
        return self._going_on(lambda: self._computed(step))

    def _computed(self, step: int) -> list[Part]:
        began = time.monotonic()
        if self._remote is not None:
            self._remote.ask_for_gradients(step, self._vectors.parameters)
        parts = self._links.gradients(step)
        if self._remote is not None:
            parts += self._remote.parts(step, self._vectors)
        self._deadline.took(time.monotonic() - began)
        self._has_computed = True
        return parts

    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        return self._going_on(self._measured)

    def _measured(self) -> list[tuple[int, SliceMeasure]]:
        if self._remote is not None:
            self._remote.ask_for_measures(self._vectors.parameters)
        found = [*self._links.measures(), *([] if self._remote is None else self._remote.measures())]
        return [(index, unpack_measure(packed)) for index, packed in found]

    def close(self) -> None:
        super().close()
        self._hang_up()

    def _hang_up(self) -> None:
        self._links.close()
        if self._remote is not None:
            self._remote.close()


def _told(more: int, gone: Sequence[int]) -> str:
    """What happened when there are `more` workers than before, or less, and those have `gone`."""
    if not more:
        return "a process that was to join did not" if gone else "goes on with the same workers"
    who = "a gradient worker" if abs(more) == 1 else f"{abs(more)} gradient workers"
    return f"{who} joined" if more > 0 else f"{who} left"
