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


def counted(pace: Pace, times: int, key: str = "key_1", per_minute: int | None = 60, repeats: str | None = None) -> int:
    """How many of so many submits at once are let through."""
    passed = 0
    for _ in range(times):
        try:
            pace.let_through("risk", key, per_minute, repeats)
            passed += 1
        except TooManyRequests:
            continue
    return passed


def test_of_a_thousand_at_once_a_key_is_let_through_its_burst_and_told_when_to_come_again() -> None:
    pace = Pace(100, Clock())
    assert counted(pace, 1_000, per_minute=3_000) == 100
    with pytest.raises(TooManyRequests, match="3,000 a minute, and a key 100 at once") as refused:
        pace.let_through("risk", "key_1", 3_000, None)
    assert refused.value.retry_after_s == 1


def test_tokens_come_back_at_the_rate_of_the_quota_and_refusals_cost_none() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    assert counted(pace, 50, per_minute=12) == 5
    with pytest.raises(TooManyRequests) as refused:
        pace.let_through("risk", "key_1", 12, None)
    assert refused.value.retry_after_s == 5
    clock.now += 5.0
    assert counted(pace, 2, per_minute=12) == 1
    clock.now += 3_600.0
    assert counted(pace, 50, per_minute=12) == 5


def test_the_keys_of_a_tenant_share_its_minute() -> None:
    pace = Pace(100, Clock())
    assert [counted(pace, 40, f"key_{number}") for number in range(3)] == [40, 20, 0]
    pace.let_through("other", "key_9", 60, None)


def test_a_repetition_of_what_was_let_through_is_free() -> None:
    pace = Pace(1, Clock())
    assert counted(pace, 100, repeats="once") == 100
    assert counted(pace, 1, repeats="twice") == counted(pace, 1) == 0


def test_without_a_quota_nothing_is_counted() -> None:
    assert counted(Pace(1, Clock()), 100, per_minute=None) == 100


def test_no_more_is_remembered_than_fits() -> None:
    pace = Pace(1, Clock())
    for number in range(MOST + 10):
        pace.let_through(f"tenant {number}", f"key_{number}", 60, f"once {number}")
    assert max(len(known) for known in (pace._buckets, pace._seen)) == MOST


def test_who_submits_all_the_time_is_not_forgotten_for_others_who_come_once() -> None:
    pace = Pace(2, Clock())
    assert counted(pace, 3, key="busy") == 2
    for number in range(MOST):
        with suppress(TooManyRequests):
            pace.let_through("risk", "busy", None, None)
        pace.let_through("risk", f"key_{number}", None, None)
    assert counted(pace, 1, key="busy") == 0
