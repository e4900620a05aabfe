"""The CPUs that a job holds: a seat is one CPU on some node, for one of its processes."""

from typing import Any, Protocol

from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from workers.job import NotPlaced

__all__ = ["GroupedSeats", "OnlyNode", "Seats"]

PLACED_WITHIN_S = 60.0


class Seats(Protocol):
    """Seats are numbered from 0, in the order in which they were added."""

    def open(self, cpus: int) -> None:
        """Takes the first seats, all or none. Raises NotPlaced."""

    def add(self) -> None:
        """Asks for one more seat."""

    def drop(self) -> None:
        """Gives the last seat back."""

    def node_of(self, seat: int) -> str | None:
        """The node that a seat is on, None as long as the cluster has no place for it."""

    def close(self) -> None:
        """Gives all back. Repeating is harmless."""


class OnlyNode:
    """Seats on the one node of an embedded cluster, all of whose CPUs are ours: the scheduler's count is enough."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id

    def open(self, cpus: int) -> None:
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

    The first seats are one group, so that two jobs never each hold half of what they need. Each later one is a group of
    its own, since a group cannot shrink. When a node is lost, Ray finds another place for its bundles as soon as there
    is one.
    """

    def __init__(self) -> None:
        self._groups: list[Any] = []
        self._bundles: list[tuple[Any, int]] = []  # by seat

    def open(self, cpus: int) -> None:
        group = placement_group([{"CPU": 1}] * cpus, strategy="PACK")
        self._groups.append(group)
        self._bundles += [(group, bundle) for bundle in range(cpus)]
        if not group.wait(timeout_seconds=PLACED_WITHIN_S):
            raise NotPlaced(f"the cluster found no place for it within {PLACED_WITHIN_S:.0f} s")

    def add(self) -> None:
        # Where the first seat is, if there is room: what is near needs no network.
        group = placement_group([{"CPU": 1}], strategy="STRICT_PACK", _soft_target_node_id=self.node_of(0))
        self._groups.append(group)
        self._bundles.append((group, 0))

    def drop(self) -> None:
        group, _ = self._bundles.pop()
        if all(group is not other for other, _ in self._bundles):
            self._groups.remove(group)
            remove_placement_group(group)

    def node_of(self, seat: int) -> str | None:
        group, bundle = self._bundles[seat]
        table = placement_group_table(group)
        return table["bundles_to_node_id"].get(bundle) if table["state"] == "CREATED" else None

    def close(self) -> None:
        for group in self._groups:
            remove_placement_group(group)
        self._groups.clear()
