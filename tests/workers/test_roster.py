"""The list of a job's processes: whoever leaves is struck out once, whatever became of them meanwhile."""

from types import SimpleNamespace
from typing import Any

import pytest

from workers.roster import Roster


def numbers(people: list[Any]) -> list[int]:
    return [each.number for each in people]


class List:
    """A roster on which all have started but those whose numbers are `starting`."""

    def __init__(self, count: int, starting: tuple[int, ...] = ()) -> None:
        self.people = [SimpleNamespace(number=number) for number in range(1, count + 1)]
        self.roster: Roster[Any] = Roster(self.people)
        for each in self.people:
            if each.number not in starting:
                self.roster.take_in(each)

    def __getitem__(self, number: int) -> Any:
        return self.people[number - 1]


def test_who_is_dismissed_leaves_once() -> None:
    there = List(3)
    there.roster.dismiss([2, 3])
    assert there.roster.is_to_let_go()
    assert there.roster.let_go() == []
    assert not there.roster.is_to_let_go()
    assert (numbers(there.roster.members()), there.roster.gone(), there.roster.gone()) == ([1], [2, 3], [])


def test_who_is_dismissed_and_dies_before_leaving_is_struck_out_once() -> None:
    there = List(2)
    there.roster.dismiss([2])
    assert there.roster.let_go([there[2]]) == []
    assert (numbers(there.roster.members()), there.roster.gone()) == ([1], [2])


def test_who_is_dismissed_while_still_starting_never_joins() -> None:
    there = List(3, starting=(2, 3))
    there.roster.dismiss([2, 3])
    there.roster.take_in(there[2])  # just before the step ended
    assert numbers(there.roster.let_go()) == [3]
    assert (numbers(there.roster.everybody()), there.roster.gone()) == ([1], [2, 3])


def test_a_number_that_was_dismissed_may_be_given_to_another() -> None:
    there = List(2)
    there.roster.dismiss([2])
    there.roster.let_go()
    there.roster.join([SimpleNamespace(number=2)])
    assert there.roster.let_go() == []
    assert numbers(there.roster.newcomers()) == [2]


@pytest.mark.parametrize("starting", [(), (2,)])
def test_who_is_struck_out_has_gone(starting: tuple[int, ...]) -> None:
    there = List(2, starting)
    there.roster.strike(there[2])
    assert (numbers(there.roster.everybody()), there.roster.gone()) == ([1], [2])
