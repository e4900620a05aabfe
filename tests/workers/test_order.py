"""Rows come in the order that the seed says, wherever that order is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.randomness import Purpose, permutation
from shared.spec import JobSpec
from workers.order import LongOrders, Order

ROWS = 1000
EPOCHS = 3


def order(folder: Path, rows_in_memory: int = ROWS, **fields: Any) -> Order:
    return Order(spec_of(**fields), ROWS, folder, rows_in_memory)


def spec_of(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"dataset": "d", "target": "y", "seed": 7, **fields})


@pytest.fixture
def long_orders(tmp_path: Path) -> Iterator[LongOrders]:
    orders = LongOrders(spec_of(), ROWS, EPOCHS, tmp_path, ROWS - 1)
    yield orders
    orders.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_epoch_goes_through_the_permutation_of_its_number(tmp_path: Path) -> None:
    rows = order(tmp_path)
    for epoch in (0, 1, 5, 0):
        expected = permutation(ROWS, 7, Purpose.SHUFFLE, epoch)
        np.testing.assert_array_equal(rows.rows(epoch, 0, ROWS), expected)
        assert rows.rows(epoch, 990, ROWS).tolist() == expected[990:].tolist()


def test_a_long_order_is_a_file_of_the_very_permutation(tmp_path: Path, long_orders: LongOrders) -> None:
    rows = order(tmp_path, ROWS - 1)
    for epoch in range(EPOCHS):
        long_orders.await_epoch(epoch)
        expected = permutation(ROWS, 7, Purpose.SHUFFLE, epoch)
        np.testing.assert_array_equal(rows.rows(epoch, 0, ROWS), expected)
        assert rows.rows(epoch, 990, ROWS).tolist() == expected[990:].tolist()


def test_rows_that_are_not_shuffled_come_as_they_lie(tmp_path: Path) -> None:
    assert order(tmp_path, 10, shuffle=False).rows(3, 40, 44).tolist() == [40, 41, 42, 43]


@pytest.mark.parametrize(("rows", "shuffle"), [(ROWS, True), (ROWS + 1, False)])
def test_nothing_is_made_where_nothing_long_is_needed(rows: int, shuffle: bool, tmp_path: Path) -> None:
    orders = LongOrders(spec_of(shuffle=shuffle), rows, EPOCHS, tmp_path, ROWS)
    orders.await_epoch(0)
    orders.close()
    assert not orders.needed
    assert names(tmp_path) == []


def test_the_next_order_is_made_while_an_epoch_runs_and_none_after_the_last(tmp_path: Path) -> None:
    for epoch, there in ((0, ["order-0.npy", "order-1.npy"]), (2, ["order-1.npy", "order-2.npy"])):
        orders = LongOrders(spec_of(), ROWS, EPOCHS, tmp_path, 10)
        orders.await_epoch(epoch)
        orders.await_epoch(epoch)
        orders._pool.shutdown()  # when all that has begun is done
        assert names(tmp_path) == there


def test_orders_of_past_epochs_go_but_not_from_under_a_worker(tmp_path: Path, long_orders: LongOrders) -> None:
    rows = order(tmp_path, 10)
    long_orders.await_epoch(0)
    rows.rows(0, 0, 1)
    for epoch in range(1, EPOCHS):
        long_orders.await_epoch(epoch)
    assert names(tmp_path) == ["order-1.npy", "order-2.npy"]
    np.testing.assert_array_equal(rows.rows(0, 0, ROWS), permutation(ROWS, 7, Purpose.SHUFFLE, 0))


def test_an_order_that_is_there_is_used_and_one_that_is_half_there_is_not(tmp_path: Path) -> None:
    whole = LongOrders(spec_of(), ROWS, EPOCHS, tmp_path, 10)
    whole.await_epoch(1)
    whole.close()
    made = (tmp_path / "order-1.npy").stat().st_mtime_ns
    (tmp_path / "order-2.npy").unlink(missing_ok=True)
    for left in ("order-2.1.partial", "order-2.1.drawn"):
        (tmp_path / left).write_bytes(b"half")
    again = LongOrders(spec_of(), ROWS, EPOCHS, tmp_path, 10)
    again.await_epoch(1)
    assert (tmp_path / "order-1.npy").stat().st_mtime_ns == made
    again.await_epoch(2)
    again.close()
    assert names(tmp_path) == ["order-1.npy", "order-2.npy"]


def test_an_order_that_nobody_has_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        order(tmp_path, 10).rows(0, 0, 1)


def test_an_order_that_cannot_be_written_is_told_where_it_is_awaited(tmp_path: Path) -> None:
    orders = LongOrders(spec_of(), ROWS, EPOCHS, tmp_path / "gone", 10)
    with pytest.raises(FileNotFoundError):
        orders.await_epoch(0)
    orders.close()


def test_closing_stops_what_is_being_made(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    orders = LongOrders(spec_of(), 20_000_000, EPOCHS, tmp_path, 10)
    with pytest.raises(Stopped):
        orders.await_epoch(0, stop)
    orders.close()
    assert names(tmp_path) == []
