"""The cut of a batch into shards, and the fixed tree that sums them: the rule that makes the bits equal.

Floating-point addition is not associative, so a sum's bits depend on its order. Here the order is a binary tree over
shard numbers that depends on nothing but the number of shards. Whoever holds two siblings may add them; nobody may add
anything else. A shard without rows is absent: it is passed over, not added as zeros. So every assignment of shards to
workers gives the same bits.
"""

from functools import lru_cache
from typing import Final, NamedTuple

__all__ = [
    "ADD",
    "SLICE_ROWS",
    "Node",
    "Summation",
    "assign",
    "batch_rows",
    "cut",
    "leaves",
    "summation",
    "vectors_held",
    "whole_sum",
]

ADD: Final = -1
SLICE_ROWS: Final = 1024  # validation rows that are summed by one party: fixed, so that the sums' bits are


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


class Summation(NamedTuple):
    """How somebody adds the parts of the tree that they hold.

    `program` is for a stack that is empty at first: a number from 0 puts the part of that number on top, ADD adds the
    topmost to the one below it and drops it. Parts come in the order of their shards, each just before it is needed.
    `sums` are the subtrees that the stack holds at the end, from the bottom up: the fewest that hold what was held.
    `depth` is how many numbers, or vectors, the stack holds at most.
    """

    program: tuple[int, ...]
    sums: tuple[Node, ...]
    depth: int


def batch_rows(step: int, batch_size: int, training_rows: int) -> int:
    """The rows of the batch of `step` (from 0): the last batch of an epoch may be smaller."""
    steps_per_epoch = -(-training_rows // batch_size)
    return min(batch_size, training_rows - step % steps_per_epoch * batch_size)


def cut(rows: int, shards: int) -> list[tuple[int, int]]:
    """The (start, stop) of each shard within a batch of `rows` rows; sizes differ by at most one, some may be empty."""
    return [(shard * rows // shards, (shard + 1) * rows // shards) for shard in range(shards)]


def assign(shards: int, workers: int) -> list[range]:
    """Which shards each worker computes: neighbours together, so that whole subtrees fall to one worker."""
    return [range(*bounds) for bounds in cut(shards, workers)]


def leaves(rows: int, shards: int, mine: range) -> tuple[Node, ...]:
    """The shards of `mine` that have rows, as leaves of the tree."""
    bounds = cut(rows, shards)
    return tuple(Node(shard, shard + 1) for shard in mine if bounds[shard][0] < bounds[shard][1])


@lru_cache(maxsize=1024)
def summation(rows: int, shards: int, held: tuple[Node, ...]) -> Summation:
    """How to add `held`, subtrees of a batch of `rows` rows, as far as the tree allows."""
    bounds = cut(rows, shards)
    numbers = {node: number for number, node in enumerate(held)}
    program: list[int] = []

    def visit(node: Node) -> tuple[list[Node], bool]:  # what of it is on the stack, and whether that is all
        if node in numbers:
            program.append(numbers[node])
            return [node], True
        if node.is_leaf:
            return [], bounds[node.first][0] == bounds[node.first][1]
        (left, left_whole), (right, right_whole) = map(visit, node.children)
        if not (left_whole and right_whole):
            return left + right, False
        if left and right:
            program.append(ADD)
        return [node][: len(left + right)], True

    sums, _ = visit(Node(0, shards))
    heights, height = [0], 0
    for operation in program:
        height += -1 if operation == ADD else 1
        heights.append(height)
    return Summation(tuple(program), tuple(sums), max(heights))


def vectors_held(rows: int, shards: int, workers: int) -> list[int]:
    """How many gradients each worker holds at once, at most, while it computes its shards of such a batch."""
    return [summation(rows, shards, leaves(rows, shards, mine)).depth for mine in assign(shards, workers)]


@lru_cache(maxsize=1024)
def whole_sum(rows: int, shards: int, held: tuple[Node, ...]) -> Summation:
    """How to add `held` into the sum over the whole batch.

    Raises ValueError if a shard is missing or counted twice, so that no gradient is ever averaged wrongly.
    """
    counts = [sum(node.first <= shard < node.stop for node in held) for shard in range(shards)]
    for shard, (start, stop) in enumerate(cut(rows, shards)):
        if counts[shard] > 1:
            raise ValueError(f"shard {shard} of {shards} was sent twice")
        if not counts[shard] and start != stop:
            raise ValueError(f"shard {shard} of {shards} is missing")
    found = summation(rows, shards, held)
    if len(found.sums) != 1:
        raise ValueError(f"{held} are no subtrees of {shards} shards over {rows} rows")
    return found
