"""How long jobs wait is not shortened by any clock that is set."""

from typing import Any

import pytest
import sqlalchemy as sa

from service.clock import seconds_between
from service.database import Database, DatabaseTime
from service.patience import Patience

NOBODY: Any = None  # no connection: the database's clock is the test's own
HOUR_S, DAY_S = 3_600.0, 86_400.0


class Clocks:
    """The database's, which may be set, and the time that passes in truth, which the process sees."""

    def __init__(self) -> None:
        self.database, self.process = 1e9, 100.0
        self.patience = Patience(lambda _: self.database, lambda: self.process)

    def pass_(self, seconds: float) -> None:
        self.database += seconds
        self.process += seconds

    def is_late(self, until: str) -> bool:
        return until <= self.patience.now(NOBODY)


@pytest.fixture
def clocks() -> Clocks:
    clocks = Clocks()
    clocks.patience.now(NOBODY)
    return clocks


def test_who_waits_is_late_when_the_time_is_over(clocks: Clocks) -> None:
    until = clocks.patience.until(NOBODY, HOUR_S)
    clocks.pass_(HOUR_S - 1)
    assert not clocks.is_late(until)
    clocks.pass_(1)
    assert clocks.is_late(until)


def test_a_clock_that_is_set_forward_cuts_nobody_short(clocks: Clocks) -> None:
    before = clocks.patience.until(NOBODY, HOUR_S)
    clocks.database += DAY_S
    after = clocks.patience.until(NOBODY, HOUR_S)
    clocks.pass_(HOUR_S - 1)
    assert not clocks.is_late(before)
    assert not clocks.is_late(after)
    clocks.pass_(1)
    assert clocks.is_late(before)


def test_a_clock_that_is_set_back_cuts_nobody_short_and_is_believed_again_once_it_is_right(clocks: Clocks) -> None:
    before = clocks.patience.until(NOBODY, HOUR_S)
    clocks.database -= DAY_S
    after = clocks.patience.until(NOBODY, HOUR_S)
    clocks.pass_(HOUR_S - 1)
    assert not clocks.is_late(before)
    clocks.database += DAY_S
    assert not clocks.is_late(before)
    assert not clocks.is_late(after)
    clocks.pass_(1)
    assert clocks.is_late(before)
    assert clocks.is_late(after)


@pytest.mark.parametrize("set_by_s", [DAY_S, -DAY_S])
def test_a_clock_that_was_set_while_nobody_waited_makes_nobody_wait_longer(clocks: Clocks, set_by_s: float) -> None:
    clocks.database += set_by_s
    clocks.patience.begin(NOBODY)
    until = clocks.patience.until(NOBODY, HOUR_S)
    clocks.pass_(HOUR_S - 1)
    assert not clocks.is_late(until)
    clocks.pass_(1)
    assert clocks.is_late(until)


@pytest.mark.parametrize("set_by_s", [DAY_S, -DAY_S], ids=["as one that slept sees it", "set back"])
def test_a_job_that_one_process_let_wait_is_not_cut_short_by_another(clocks: Clocks, set_by_s: float) -> None:
    clocks.database += set_by_s
    until = clocks.patience.until(NOBODY, HOUR_S)
    other = Patience(lambda _: clocks.database, lambda: clocks.process)
    other.now(NOBODY)
    clocks.pass_(HOUR_S - 1)
    assert not until <= other.now(NOBODY)


def test_it_goes_by_the_databases_own_clock(database: Database) -> None:
    with database.reading() as connection:
        told: float = connection.scalar(sa.select(DatabaseTime())) or 0.0
        patience = Patience(monotonic=lambda: 0.0)
        now = patience.now(connection)
        assert 0 <= seconds_between(now, patience.until(connection, 10.0)) - 10.0 < 5
        assert patience.now(connection) == now
    assert abs(told - 1e9) > 1e8, "seconds since 1970"
