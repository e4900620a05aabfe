"""Figures with their spread, and goals that are reached or missed."""

import pytest

from benchmarks.records import Goal, Spread

TEN = [30.0, 10.0, 20.0, 50.0, 40.0, 60.0, 100.0, 70.0, 80.0, 90.0]


def test_a_spread_holds_the_median_the_least_and_the_most() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)


def test_the_median_of_an_even_number_of_runs_is_the_mean_of_the_middle_two() -> None:
    assert Spread.of([4.0, 1.0, 2.0, 3.0]).value == 2.5


def test_another_quantile_is_the_value_of_the_nearest_rank() -> None:
    assert Spread.of(TEN, 0.95) == Spread(100.0, 10.0, 100.0, 10)
    assert Spread.of(TEN, 0.9).value == 90.0


def test_no_runs_have_no_spread() -> None:
    with pytest.raises(ValueError, match="got no values"):
        Spread.of([])


@pytest.mark.parametrize(
    ("at_most", "got", "missing"), [(False, 2.0, 0.5), (False, 2.5, 0.0), (True, 3.0, 0.5), (True, 2.5, 0.0)]
)
def test_a_goal_is_missed_by_how_far_the_median_is_on_the_wrong_side(at_most: bool, got: float, missing: float) -> None:
    goal = Goal("speed", "×", 2.5, Spread.of([got]), at_most=at_most)
    assert goal.missing == missing
    assert goal.is_reached == (missing == 0)
