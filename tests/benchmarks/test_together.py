"""Measuring in several processes at the same time."""

import os

import pytest

from benchmarks.records import BenchmarkFailed
from benchmarks.together import Start, together


def process_and_number(start: Start, number: int) -> tuple[int, int]:
    start()
    return os.getpid(), number


def second_fails(start: Start, number: int) -> None:
    if number == 1:
        raise RuntimeError("no memory")
    start()


def test_each_number_has_a_process_of_its_own_and_all_start_together() -> None:
    found = together(2, process_and_number)
    assert [number for _, number in found] == [0, 1]
    assert len({process for process, _ in found} | {os.getpid()}) == 3


def test_one_that_fails_does_not_keep_the_others_waiting() -> None:
    with pytest.raises(BenchmarkFailed, match="no memory"):
        together(2, second_fails)
