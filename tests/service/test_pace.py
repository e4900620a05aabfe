"""How fast jobs may be submitted, with a clock that the test moves."""

from contextlib import suppress

import pytest

from service.pace import MOST, Pace
from shared.errors import TooManyRequests


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(pace: Pace, times: int, key: str = "key_1", per_minute: int | None = 60) -> int:
    """How many of so many submits at once are let through."""
    passed = 0
    for _ in range(times):
        try:
            pace.let_through("risk", key, per_minute)
            passed += 1
        except TooManyRequests:
            continue
    return passed


def test_of_a_thousand_at_once_a_key_is_let_through_its_burst_and_told_when_to_come_again() -> None:
    pace = Pace(100, Clock())
    assert counted(pace, 1_000, per_minute=3_000) == 100
    with pytest.raises(TooManyRequests, match="3,000 a minute, and a key 100 at once") as refused:
        pace.let_through("risk", "key_1", 3_000)
    assert refused.value.retry_after_s == 1


def test_tokens_come_back_at_the_rate_of_the_quota_and_refusals_cost_none() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    assert counted(pace, 50, per_minute=12) == 5
    with pytest.raises(TooManyRequests) as refused:
        pace.let_through("risk", "key_1", 12)
    assert refused.value.retry_after_s == 5
    clock.now += 5.0
    assert counted(pace, 2, per_minute=12) == 1
    clock.now += 3_600.0
    assert counted(pace, 50, per_minute=12) == 5


def test_the_keys_of_a_tenant_share_its_minute() -> None:
    pace = Pace(100, Clock())
    assert [counted(pace, 40, f"key_{number}") for number in range(3)] == [40, 20, 0]
    pace.let_through("other", "key_9", 60)


def test_what_a_repetition_took_is_given_back_and_no_more() -> None:
    pace = Pace(2, Clock())
    assert counted(pace, 9) == 2
    pace.give_back("risk", "key_1")
    assert counted(pace, 9) == 1
    for _ in range(50):
        pace.give_back("risk", "key_1")
        pace.give_back("nobody", "key_2")
    assert counted(pace, 9) == 2


def test_without_a_quota_nothing_is_counted() -> None:
    assert counted(Pace(1, Clock()), 100, per_minute=None) == 100


def test_no_more_is_remembered_than_fits() -> None:
    pace = Pace(1, Clock())
    for number in range(MOST + 10):
        pace.let_through(f"tenant {number}", f"key_{number}", 60)
    assert len(pace._buckets) == MOST


def test_who_submits_all_the_time_is_not_forgotten_for_others_who_come_once() -> None:
    pace = Pace(2, Clock())
    assert counted(pace, 3, key="busy") == 2
    for number in range(MOST):
        with suppress(TooManyRequests):
            pace.let_through("risk", "busy", None)
        pace.let_through("risk", f"key_{number}", None)
    assert counted(pace, 1, key="busy") == 0
