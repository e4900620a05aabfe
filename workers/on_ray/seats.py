"""The CPUs that a job holds: a seat is one CPU on some node, for one of its processes."""

import contextlib
import re
import time
from collections import Counter
from typing import Any, Protocol

import ray
from ray.util.placement_group import (
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from workers.job import NotPlaced, TooFewCpus

__all__ = ["GroupedSeats", "OnlyNode", "Seats", "groups", "held", "remove"]

PLACED_WITHIN_S = 60.0
LOOKS_EVERY_S = 1.0  # whether there are enough CPUs at all
OURS = re.compile(r"[^./]+\.[0-9]+\.[0-9]+\.[0-9a-f]+/[0-9]+")  # an attempt, as `RayCluster` names it, and a seat


class Seats(Protocol):
    """Seats are numbered from 0, in the order in which they were added."""

    def open(self, cpus: int, together: int) -> None:
        """Takes the first seats, so many of them all at once or not at all. Raises NotPlaced, TooFewCpus."""

    def add(self) -> None:
        """Asks for one more seat."""

    def drop(self) -> None:
        """Gives the last seat back, which must not be one of those that the job cannot do without."""

    def node_of(self, seat: int) -> str | None:
        """The node that a seat is on, None as long as there is no such seat, or the cluster has no place for it."""

    def close(self) -> None:
        """Gives all back. Repeating is harmless."""


class OnlyNode:
    """Seats on the one node of an embedded cluster, all of whose CPUs are ours: the scheduler's count is enough."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id

    def open(self, cpus: int, together: int) -> None:
        return

    def add(self) -> None:
        return

    def drop(self) -> None:
        return

    def node_of(self, seat: int) -> str | None:
        return self._node_id

    def close(self) -> None:
        return


class GroupedSeats:
    """Seats on a cluster that others use too: placement groups hold their CPUs.

    Those that a job cannot do without are one group, so that two jobs never each hold half of what they need. Each
    other one is a group of its own, since a group cannot shrink. When a node is lost, Ray finds another place for its
    bundles as soon as there is one. They outlive whoever makes them, as the attempt does, whose name they bear.
    """

    def __init__(self, attempt: str) -> None:
        self._attempt = attempt
        self._groups: list[Any] = []
        self._bundles: list[tuple[Any, int]] = []  # by seat
        self._next = 0  # the number in the next group's name: above all others, of which some may be gone

    @classmethod
    def found(cls, attempt: str) -> "GroupedSeats":
        """Those that an attempt holds."""
        seats = cls(attempt)
        first = {seat: name for name in groups() if (seat := _first_seat(name, attempt)) is not None}
        for seat, name in sorted(first.items()):
            seats._take(get_placement_group(name), seat)
        return seats

    def __len__(self) -> int:
        return len(self._bundles)

    def open(self, cpus: int, together: int) -> None:
        group = self._make([{"CPU": 1}] * together, "PACK")
        deadline = time.monotonic() + PLACED_WITHIN_S
        while not group.wait(timeout_seconds=LOOKS_EVERY_S):
            if (cpus_there := _cpus_alive()) < together:  # a node was lost since the scheduler looked
                raise TooFewCpus(f"needs {together} CPUs at once; the cluster has {cpus_there:g}")
            if time.monotonic() >= deadline:
                raise NotPlaced(f"the cluster found no place for it within {PLACED_WITHIN_S:.0f} s")
        for _ in range(cpus - together):
            self.add()

    def add(self) -> None:
        # Where the first seat is, if there is room: what is near needs no network.
        self._make([{"CPU": 1}], "STRICT_PACK", self.node_of(0))

    def _make(self, bundles: list[dict[str, float]], strategy: str, near: str | None = None) -> Any:
        name = f"{self._attempt}/{self._next}"
        group = placement_group(bundles, strategy, name, lifetime="detached", _soft_target_node_id=near)
        self._take(group, self._next)
        return group

    def _take(self, group: Any, number: int) -> None:
        self._groups.append(group)
        self._bundles += [(group, bundle) for bundle in range(group.bundle_count)]
        self._next = number + group.bundle_count

    def drop(self) -> None:
        assert len(self._groups) > 1, "the first group is what the job cannot do without"
        self._bundles.pop()
        remove_placement_group(self._groups.pop())

    def node_of(self, seat: int) -> str | None:
        if seat >= len(self._bundles):  # as of an attempt whose groups are gone though it still runs
            return None
        group, bundle = self._bundles[seat]
        table = placement_group_table(group)
        return table["bundles_to_node_id"].get(bundle) if table["state"] == "CREATED" else None

    def close(self) -> None:
        for group in self._groups:
            remove_placement_group(group)
        self._groups.clear()


def _cpus_alive() -> float:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return float(sum(node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]))


def groups() -> dict[str, str]:
    """All placement groups of attempts: the attempt of each, by name."""
    return {group["name"]: group["name"].rpartition("/")[0] for group in _ours() if group["state"] != "REMOVED"}


def held() -> dict[str, int]:
    """How many seats attempts have on each node, by its id."""
    placed = [group for group in _ours() if group["state"] == "CREATED"]
    return Counter(node_id for group in placed for node_id in group["bundles_to_node_id"].values())


def _ours() -> list[dict[str, Any]]:
    """The placement groups of attempts, among those of all who use the cluster, as Ray tells of them."""
    return [group for group in placement_group_table().values() if OURS.fullmatch(group["name"])]


def remove(name: str) -> None:
    """Removes a placement group, if it is there."""
    with contextlib.suppress(ValueError):
        remove_placement_group(get_placement_group(name))


def _first_seat(name: str, attempt: str) -> int | None:
    of, _, seat = name.rpartition("/")
    return int(seat) if of == attempt else None
