"""Batches: what comes at the same time is done together, each gets its own outcome, and nobody waits for others."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from service.batches import Batches

WITHIN_S = 20.0


class Doubling:
    """Doubles numbers, 100 aside, and keeps what it was called with; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(items))
        self.began.set()
        assert self.may_end.wait(WITHIN_S)
        if 666 in items:
            raise OSError("the disk is full")
        return [ValueError("a hundred") if item == 100 else 2 * item for item in items]


def added(batches: "Batches[int, int]", items: Sequence[int], work: Doubling) -> dict[int, int | Exception]:
    """What comes of items that are added in threads of their own while one item is being done."""
    found: dict[int, int | Exception] = {}

    def add(item: int) -> None:
        try:
            found[item] = batches.add(item)
        except (OSError, ValueError) as error:
            found[item] = error

    threads = [threading.Thread(target=add, args=(item,)) for item in (0, *items)]
    threads[0].start()
    assert work.began.wait(WITHIN_S)
    for thread in threads[1:]:
        thread.start()
    while len(batches) < len(items):
        pass  # they are about to say that they wait
    work.may_end.set()
    for thread in threads:
        thread.join(WITHIN_S)
    return found


def test_what_comes_while_another_is_done_is_done_at_once_and_each_gets_its_own_result() -> None:
    work = Doubling()
    found = added(Batches(work, most=100), range(1, 9), work)
    assert found == {item: 2 * item for item in range(9)}
    assert [len(call) for call in work.calls] == [1, 8]


def test_a_batch_has_so_many_items_at_most() -> None:
    work = Doubling()
    found = added(Batches(work, most=3), range(1, 9), work)
    assert found == {item: 2 * item for item in range(9)}
    assert [len(call) for call in work.calls] == [1, 3, 3, 2]


def test_a_batch_ends_before_its_items_are_too_large_together_and_one_that_is_so_by_itself_is_alone() -> None:
    work = Doubling()
    batches = Batches(work, most=5, size=lambda item: item)
    first = batches.add_soon(9)
    assert work.began.wait(WITHIN_S)
    others = [batches.add_soon(item) for item in (2, 3, 1, 8, 4)]
    work.may_end.set()
    assert [each.result(WITHIN_S) for each in (first, *others)] == [18, 4, 6, 2, 16, 8]
    assert work.calls == [[9], [2, 3], [1], [8], [4]]


def test_an_item_that_fails_fails_alone_and_what_fails_as_a_whole_fails_for_all() -> None:
    work = Doubling()
    found = added(Batches(work, most=100), [1, 100], work)
    assert (found[0], found[1], str(found[100])) == (0, 2, "a hundred")
    work = Doubling()
    found = added(Batches(work, most=100), [1, 666], work)
    assert [str(found[item]) for item in (1, 666)] == ["the disk is full"] * 2


def test_one_that_comes_alone_is_done_at_once() -> None:
    work = Doubling()
    work.may_end.set()
    batches = Batches(work, most=100)
    assert [batches.add(item) for item in (1, 2)] == [2, 4]
    with pytest.raises(ValueError, match="a hundred"):
        batches.add(100)
    assert work.calls == [[1], [2], [100]]


def test_what_nobody_waits_for_any_more_is_not_done_and_holds_up_nobody() -> None:
    work = Doubling()
    batches = Batches(work, most=100)
    first = batches.add_soon(0)
    assert work.began.wait(WITHIN_S)
    given_up, other = batches.add_soon(1), batches.add_soon(2)
    assert given_up.cancel()
    work.may_end.set()
    assert (first.result(WITHIN_S), other.result(WITHIN_S)) == (0, 4)
    assert work.calls == [[0], [2]]


def test_where_no_thread_can_be_started_all_that_wait_are_told_and_the_next_item_tries_again() -> None:
    starts: list[Any] = []

    def start(work: Any) -> None:
        starts.append(work)
        if len(starts) == 1:
            raise RuntimeError("can't start new thread")
        work()

    batches: Batches[int, int] = Batches(lambda items: [2 * item for item in items], most=100, start=start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        batches.add_soon(1).result(WITHIN_S)
    assert batches.add_soon(2).result(WITHIN_S) == 4
