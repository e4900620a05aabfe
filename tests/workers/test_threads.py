"""Results come in the order of the pieces, whoever is ready first, and who waits may stop."""

import threading

import pytest

from workers.threads import in_order, waited


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_few_at_once(threads: int) -> None:
    begun = 0

    def work(piece: int) -> int:
        nonlocal begun
        begun += 1
        return piece

    for taken, result in enumerate(in_order(work, range(20), threads)):
        assert result == taken
        assert begun <= taken + 1 + threads


def test_a_later_piece_may_be_done_before_an_earlier_one() -> None:
    second_is_done = threading.Event()

    def work(piece: int) -> int:
        if piece == 0:
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return piece

    assert list(in_order(work, [0, 1], 2)) == [0, 1]


def test_an_error_comes_in_the_place_of_its_result() -> None:
    results = in_order(lambda piece: 1 // piece, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_who_stops_early_waits_for_nothing_that_has_not_begun() -> None:
    begun = []
    results = in_order(lambda piece: begun.append(piece) or piece, range(100), 1)
    assert next(results) == 0
    results.close()
    assert len(begun) <= 3


class Stopped(Exception):
    pass


def test_who_waits_for_a_piece_may_stop_and_does_not_wait_for_its_end() -> None:
    begun, released = threading.Event(), threading.Event()

    def work(piece: int) -> None:
        begun.set()
        released.wait()

    def stop() -> None:
        if begun.is_set():
            raise Stopped

    try:
        with pytest.raises(Stopped):
            next(in_order(work, [0], 1, stop))
    finally:
        released.set()


def test_who_waits_looks_up_and_may_stop() -> None:
    released = threading.Event()

    def stop() -> None:
        raise Stopped

    try:
        with pytest.raises(Stopped):
            waited(lambda: released.wait(10), stop)
    finally:
        released.set()


def test_what_is_waited_for_comes_as_it_ended() -> None:
    assert waited(lambda: 7, lambda: None) == 7
    with pytest.raises(ZeroDivisionError):
        waited(lambda: 1 // 0, lambda: None)
