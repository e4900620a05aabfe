"""Rows come in the order that the seed says, wherever that order is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.randomness import Purpose, permutation
from shared.spec import JobSpec
from workers.order import Order

ROWS = 1000


def order(folder: Path, rows_in_memory: int = ROWS, **fields: Any) -> Order:
    spec = JobSpec.model_validate({"dataset": "d", "target": "y", "seed": 7, **fields})
    return Order(spec, ROWS, folder, rows_in_memory)


@pytest.mark.parametrize("rows_in_memory", [ROWS, ROWS - 1])
def test_an_epoch_goes_through_the_permutation_of_its_number(rows_in_memory: int, tmp_path: Path) -> None:
    rows = order(tmp_path, rows_in_memory)
    for epoch in (0, 1, 5, 0):
        expected = permutation(ROWS, 7, Purpose.SHUFFLE, epoch)
        np.testing.assert_array_equal(rows.rows(epoch, 0, ROWS), expected)
        assert rows.rows(epoch, 990, ROWS).tolist() == expected[990:].tolist()


def test_rows_that_are_not_shuffled_come_as_they_lie(tmp_path: Path) -> None:
    assert order(tmp_path, 10, shuffle=False).rows(3, 40, 44).tolist() == [40, 41, 42, 43]
    assert list(tmp_path.iterdir()) == []


def test_a_long_order_is_a_file_that_workers_share_and_old_ones_go(tmp_path: Path) -> None:
    one, other = order(tmp_path, 10), order(tmp_path, 10)
    one.rows(0, 0, 1)
    made = (tmp_path / "order-0.npy").stat().st_mtime_ns
    other.rows(0, 0, 1)
    assert (tmp_path / "order-0.npy").stat().st_mtime_ns == made
    one.rows(1, 0, 1)
    one.rows(2, 0, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["order-1.npy", "order-2.npy", "order.lock"]
    np.testing.assert_array_equal(other.rows(0, 0, ROWS), permutation(ROWS, 7, Purpose.SHUFFLE, 0))
