"""The fixed tree: whoever computes which shard, the sum has the same bits."""

import random
from collections.abc import Collection, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sharding import ADD, Node, Summation, assign, batch_rows, cut, leaves, summation, whole_sum


def values_of(shards: int) -> list[float]:
    """Numbers whose sum depends on the order of adding."""
    return [float(x) for x in np.random.default_rng(7).normal(size=shards)]


def added(found: Summation, values: Sequence[float]) -> list[float]:
    """What the program leaves on its stack."""
    stack: list[float] = []
    for operation in found.program:
        if operation == ADD:
            above = stack.pop()
            stack[-1] += above
        else:
            stack.append(values[operation])
        assert len(stack) <= found.depth
    assert len(stack) == len(found.sums)
    return stack


def parts_of(values: list[float], rows: int, mine: Collection[int]) -> dict[Node, float]:
    """What a worker sends that computes the shards `mine`."""
    held = tuple(node for node in leaves(rows, len(values), range(len(values))) if node.first in mine)
    found = summation(rows, len(values), held)
    return dict(zip(found.sums, added(found, [values[node.first] for node in held]), strict=True))


def summed(values: list[float], rows: int, owners: list[list[int]]) -> float:
    parts: dict[Node, float] = {}
    for mine in owners:
        parts |= parts_of(values, rows, mine)
    (total,) = added(whole_sum(rows, len(values), tuple(parts)), list(parts.values()))
    return total


def test_a_cut_covers_every_row_once_and_sizes_differ_by_at_most_one() -> None:
    for rows in (1, 3, 7, 8, 9, 100, 257):
        bounds = cut(rows, 8)
        assert [row for start, stop in bounds for row in range(start, stop)] == list(range(rows))
        sizes = [stop - start for start, stop in bounds]
        assert max(sizes) - min(sizes) <= 1


def test_eight_shards_are_summed_as_three_levels_of_pairs() -> None:
    a = values_of(8)
    expected = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))
    assert summed(a, 800, [list(range(8))]) == expected


def test_the_order_of_adding_can_change_the_bits() -> None:
    in_turn = 0.0
    for value in [0.1] * 8:
        in_turn += value
    assert summed([0.1] * 8, 800, [list(range(8))]) != in_turn


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8, 13])
def test_the_number_of_workers_does_not_change_the_bits(workers: int, shards: int) -> None:
    values = values_of(shards)
    alone = summed(values, 1000, [list(range(shards))])
    assert summed(values, 1000, [list(mine) for mine in assign(shards, workers)]) == alone


@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 6), st.randoms(use_true_random=False))
def test_any_assignment_of_shards_gives_the_same_bits(
    shards: int, rows: int, workers: int, chance: random.Random
) -> None:
    values = values_of(shards)
    owners: list[list[int]] = [[] for _ in range(workers)]
    for shard in range(shards):
        chance.choice(owners).append(shard)
    assert summed(values, rows, owners) == summed(values, rows, [list(range(shards))])


def test_a_worker_with_a_whole_subtree_sends_one_part() -> None:
    assert parts_of([1.0] * 8, 80, range(4)) == {Node(0, 4): 4.0}


def test_a_worker_holds_few_vectors_at_once() -> None:
    assert summation(1000, 8, leaves(1000, 8, range(8))).depth == 4
    assert summation(10_000, 1024, leaves(10_000, 1024, range(1024))).depth == 11


def test_shards_without_rows_are_passed_over() -> None:
    assert leaves(3, 8, range(8)) == (Node(2, 3), Node(5, 6), Node(7, 8))
    assert summed([1.0] * 8, 3, [list(range(8))]) == 3.0


def test_a_missing_shard_is_an_error_that_names_it() -> None:
    parts = parts_of([1.0] * 8, 80, [0, 1, 2, 4, 5, 6, 7])
    with pytest.raises(ValueError, match="shard 3 of 8 is missing"):
        whole_sum(80, 8, tuple(parts))


def test_a_shard_that_was_sent_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="shard 3 of 8 was sent twice"):
        whole_sum(80, 8, (Node(0, 8), Node(3, 4)))


def test_what_is_no_subtree_is_an_error() -> None:
    with pytest.raises(ValueError, match="no subtrees"):
        whole_sum(80, 8, (Node(0, 3), Node(3, 8)))


def test_the_last_batch_of_an_epoch_has_the_rows_that_are_left() -> None:
    assert [batch_rows(step, 4, 10) for step in range(6)] == [4, 4, 2, 4, 4, 2]
