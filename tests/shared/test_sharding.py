"""The fixed tree: whoever computes which shard, the sum has the same bits."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sharding import Node, assign, collect, cut, reduce


@dataclass
class Sum:
    """A float that adds like a gradient."""

    value: float

    def add(self, other: "Sum") -> None:
        self.value += other.value


def values_of(shards: int) -> list[float]:
    """Numbers whose sum depends on the order of adding."""
    return [float(x) for x in np.random.default_rng(7).normal(size=shards)]


def summed(values: list[float], rows: int, owners: list[list[int]]) -> float:
    shards = len(values)
    parts: dict[Node, Sum] = {}
    for mine in owners:
        parts |= collect(shards, mine, rows, lambda shard: Sum(values[shard]))
    return reduce(shards, rows, parts).value


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
    parts = collect(8, range(4), 80, lambda shard: Sum(1.0))
    assert parts == {Node(0, 4): Sum(4.0)}


def test_shards_without_rows_are_passed_over_and_never_computed() -> None:
    asked = []

    def compute(shard: int) -> Sum:
        asked.append(shard)
        return Sum(1.0)

    parts = collect(8, range(8), 3, compute)
    assert len(asked) == 3
    assert reduce(8, 3, parts) == Sum(3.0)


def test_a_missing_shard_is_an_error_that_names_it() -> None:
    parts = collect(8, [0, 1, 2, 4, 5, 6, 7], 80, lambda shard: Sum(1.0))
    with pytest.raises(ValueError, match="shard 3 of 8 is missing"):
        reduce(8, 80, parts)


def test_a_shard_that_was_sent_twice_is_an_error() -> None:
    parts = {**collect(8, range(8), 80, lambda shard: Sum(1.0)), Node(3, 4): Sum(1.0)}
    with pytest.raises(ValueError, match="twice"):
        reduce(8, 80, parts)
