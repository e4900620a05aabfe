"""The processes that a coordinator on Ray computes with."""

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shared.plan import Plan
from workers.crew import Formation
from workers.job import AttemptLost
from workers.kernel_kills import KernelKills
from workers.link import Entrance
from workers.on_ray.results import raise_if_ended, result
from workers.remote import Hub
from workers.roster import Roster

__all__ = ["Member", "RayCrew", "RayStaff", "end_process"]

ANSWERS_WITHIN_S = 2.0  # to the roll call, which a process answers while it computes
COMES_AT_FIRST_WITHIN_S = 2.0  # later, who has started late joins


class Member:
    """A process of a job. Whoever gets one, across processes too, asks it anew whether it has started.

    Args:
        number: what the attempt calls it.
    """

    def __init__(self, number: int, node_id: str, process: Any) -> None:
        self.number, self.node_id, self.process = number, node_id, process
        self.started = process.process_id.remote()
        """Its process id, once it has started."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Member, (self.number, self.node_id, self.process)

    def process_id(self) -> int | None:
        """None if it has not started, or has died before."""
        return _answered(self.started) if ray.wait([self.started], timeout=0)[0] else None

    def is_busy(self) -> bool:
        """Whether one of its threads computes, or would if it had a CPU; False if it is on another machine."""
        process_id = self.process_id()
        if process_id is None or self.node_id != ray.get_runtime_context().get_node_id():
            return False
        states = []
        for status in Path(f"/proc/{process_id}/task").glob("*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                states.append(status.read_text().rpartition(")")[2].split()[0])
        return "R" in states


class RayCrew:
    """The members on this node and others. `join` and `dismiss` may be called from other threads."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._here = ray.get_runtime_context().get_node_id()
        self._kernel = KernelKills()
        self._roster = Roster(members)
        self.everybody = self._roster.everybody
        self.join: Callable[[Sequence[Member]], None] = self._roster.join
        self.dismiss: Callable[[Sequence[int]], None] = self._roster.dismiss
        self._order: dict[int, Member] = {}  # of the last formation
        if members:
            started = [member.started for member in members]
            ray.wait(started, num_returns=len(started), timeout=COMES_AT_FIRST_WITHIN_S)

    def changed(self) -> bool:
        self._kernel.look()
        if self._roster.is_to_let_go():
            return True
        newcomers = [member.started for member in self._roster.newcomers()]
        return bool(newcomers and ray.wait(newcomers, timeout=0)[0])

    def muster(self, accused: Sequence[int] = ()) -> Formation:
        self._take_in()
        missing = self._call_the_roll()
        if accused and not missing:
            missing = [self._order[number] for number in accused if number in self._order][:1]
        for member in missing + self._roster.let_go(missing):
            end_process(member)
        return self._formation()

    def _formation(self) -> Formation:
        mine, others = self._by_node()
        here = range(1 + len(mine))
        self._order = dict(enumerate(mine, 1))
        remote: list[_RelayOnRay] = []
        for members in others:
            first = 1 + len(self._order)
            numbers = range(first, first + len(members))
            try:
                remote.append(_RelayOnRay(numbers, members))
            except AttemptLost:
                end_process(members[0])
                self._roster.strike(members[0])
                return self._formation()
            self._order |= zip(numbers, members, strict=True)
        names = [0, *(member.number for member in self._order.values())]
        staff = RayStaff(here, [member.process for member in mine], self._kernel)
        return Formation(here, staff, remote, self._roster.gone(), names)

    def _by_node(self) -> tuple[list[Member], list[list[Member]]]:
        """The members on this node, and those on each other one."""
        found: dict[str, list[Member]] = {self._here: []}
        for member in self._roster.members():
            found.setdefault(member.node_id, []).append(member)
        mine, *others = found.values()
        return mine, others

    def processes(self) -> list[Any]:
        """Everybody's, for a transport that nobody joins later."""
        return [member.process for member in self.everybody()]

    def close(self, refuse: Callable[[Sequence[int]], None]) -> None:
        """Has `refuse` answer from now on: who is to join, by number, does not, and nobody leaves."""
        self.join = lambda newcomers: refuse([member.number for member in newcomers])
        self.dismiss = lambda _: refuse([])

    def _take_in(self) -> None:
        for member in self._roster.newcomers():
            if ray.wait([member.started], timeout=0)[0]:
                if member.process_id() is None:
                    self._roster.strike(member)
                else:
                    self._roster.take_in(member)

    def _call_the_roll(self) -> list[Member]:
        """Who has died, or hangs."""
        asked = {member.process.process_id.remote(): member for member in self._roster.members()}
        if not asked:
            return []
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWERS_WITHIN_S)
        return [member for answer, member in asked.items() if answer not in ready or _answered(answer) is None]


def _answered(answer: Any) -> int | None:
    """A process's id, None if it has died."""
    try:
        return int(ray.get(answer))
    except ray.exceptions.RayError:
        return None


def end_process(member: Member) -> None:
    """Ends a process, also one that has been stopped, which Ray's own way of ending would not reach."""
    process_id = member.process_id()
    if process_id is not None and member.node_id == ray.get_runtime_context().get_node_id():
        _kill(process_id)
    elif process_id is not None:
        where = NodeAffinitySchedulingStrategy(member.node_id, soft=False)
        _kill_there.options(scheduling_strategy=where).remote(process_id)
    ray.kill(member.process)


def _kill(process_id: int) -> None:
    """Ends a process of Ray's, and none that has been given its id since."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if Path(f"/proc/{process_id}/cmdline").read_bytes().startswith(b"ray::"):
            os.kill(process_id, signal.SIGKILL)


_kill_there = ray.remote(num_cpus=0, max_retries=0)(_kill)


class RayStaff:
    """The processes of the gradient workers of one node, the first of whom needs none of its own."""

    def __init__(self, members: range, processes: Sequence[Any], kernel: KernelKills) -> None:
        self._kernel = kernel
        self._workers = dict(zip(members[1:], processes, strict=True))
        self._serving: dict[int, Any] = {}

    def start(self, worker: int, entrance: Entrance, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        self._serving[worker] = self._workers[worker].serve.remote(entrance, worker, held, workers, plan, prepared)

    def look(self, worker: int) -> None:
        raise_if_ended(self._serving[worker], f"gradient worker {worker}", self._kernel)


class _RelayOnRay:
    """The relay of another node: the first of its processes, which the others there work for."""

    def __init__(self, members: range, there: Sequence[Member]) -> None:
        self.members = members
        self._relay, *self._others = [member.process for member in there]
        self.public_key = result(self._relay.relay_key.remote(), ANSWERS_WITHIN_S)

    def start(self, hub: Hub, workers: int, plan: Plan, prepared: Path) -> None:
        self._running = self._relay.relay.remote(hub, self.members, workers, plan, prepared, self._others)

    def look(self) -> None:
        raise_if_ended(self._running, f"the relay of gradient workers {list(self.members)}")
