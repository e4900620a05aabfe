"""The cut of a batch into shards, and the fixed tree that sums them: the rule that makes the bits equal.

Floating-point addition is not associative, so a sum's bits depend on its order. Here the order is a binary tree over
shard numbers that depends on nothing but the number of shards. Whoever holds two siblings may add them; nobody may add
anything else. A shard without rows is absent: it is passed over, not added as zeros. So every assignment of shards to
workers gives the same bits.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol, Self, TypeVar

__all__ = ["Node", "assign", "collect", "cut", "reduce"]


class Node(NamedTuple):
    """A subtree: the shards from `first` up to, not including, `stop`."""

    first: int
    stop: int

    @property
    def is_leaf(self) -> bool:
        return self.stop - self.first == 1

    @property
    def children(self) -> tuple["Node", "Node"]:
        """Left gets the largest power of two of shards that leaves at least one to the right."""
        middle = self.first + (1 << (self.stop - self.first - 1).bit_length() - 1)
        return Node(self.first, middle), Node(middle, self.stop)


class Summable(Protocol):
    """What a tree can sum: `a.add(b)` adds b into a, and may use b's memory for something else from then on."""

    def add(self, other: Self, /) -> None: ...


S = TypeVar("S", bound=Summable)


def cut(rows: int, shards: int) -> list[tuple[int, int]]:
    """The (start, stop) of each shard within a batch of `rows` rows; sizes differ by at most one, some may be empty."""
    return [(shard * rows // shards, (shard + 1) * rows // shards) for shard in range(shards)]


def assign(shards: int, workers: int) -> list[range]:
    """Which shards each worker computes: neighbours together, so that whole subtrees fall to one worker."""
    return [range(*bounds) for bounds in cut(shards, workers)]


def collect(shards: int, mine: Collection[int], rows: int, compute: Callable[[int], S]) -> dict[Node, S]:
    """Computes my shards of a batch and adds what may be added.

    Returns the fewest subtrees that hold exactly my shards with rows. `compute(shard)` is called in the order of
    shard numbers, each time just before its sum is needed, so at most log2(shards) + 1 results of it live at once where
    `mine` is one subtree.
    """
    bounds = cut(rows, shards)

    def visit(node: Node) -> tuple[dict[Node, S], bool]:  # what is held, and whether that is all of the node
        if node.is_leaf:
            start, stop = bounds[node.first]
            if start == stop:
                return {}, True
            held = node.first in mine
            return ({node: compute(node.first)} if held else {}), held
        (left, left_whole), (right, right_whole) = map(visit, node.children)
        if not (left_whole and right_whole):
            return {**left, **right}, False
        return _joined(node, left, right), True

    return visit(Node(0, shards))[0]


def reduce(shards: int, rows: int, parts: Mapping[Node, S]) -> S:
    """Finishes the tree over what the workers sent.

    Raises ValueError if a shard is missing or counted twice, so that no gradient is ever averaged wrongly.
    """
    bounds = cut(rows, shards)
    used = 0

    def visit(node: Node) -> dict[Node, S]:
        nonlocal used
        if node in parts:
            used += 1
            return {node: parts[node]}
        if node.is_leaf:
            start, stop = bounds[node.first]
            if start != stop:
                raise ValueError(f"shard {node.first} of {shards} is missing")
            return {}
        left, right = map(visit, node.children)
        return _joined(node, left, right)

    whole = visit(Node(0, shards))
    if used != len(parts):
        raise ValueError(f"got {len(parts)} parts, expected {used}: some shards were sent twice")
    if not whole:
        raise ValueError("a batch without rows has no gradient")
    return whole[Node(0, shards)]


def _joined(node: Node, left: dict[Node, S], right: dict[Node, S]) -> dict[Node, S]:
    """The sum of two whole siblings, of which either may be absent."""
    there = [*left.values(), *right.values()]
    if len(there) == 2:
        there[0].add(there[1])
    return {node: total for total in there[:1]}  # noqa: B035  (none or one)
