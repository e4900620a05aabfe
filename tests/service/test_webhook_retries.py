"""What follows from an attempt."""

import pytest

from service.webhooks.retries import DELAYS_S, DISABLES_AFTER_S, Answer, Done, GiveUp, TryAgain, after_attempt


def after(
    answer: Answer, attempt: int = 1, failing_for_s: float = 0.0, random: float = 0.0, retries: bool = True
) -> object:
    return after_attempt(answer, attempt, retries=retries, failing_for_s=failing_for_s, random=lambda: random)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_two_hundred_and_some_is_success(status: int) -> None:
    assert after(Answer(0.1, status)) == Done()
    assert Answer(0.1, status).problem is None


@pytest.mark.parametrize("status", [199, 300, 301, 302, 307, 308, 400, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status: int) -> None:
    assert after(Answer(0.1, status)) == TryAgain(5)
    assert Answer(0.1, status).problem == f"the receiver answered {status}, expected 200 to 299"
    assert after(Answer(0.1, error="no")) == TryAgain(5)


def test_waits_grow_from_five_seconds_to_hours_and_last_about_a_day() -> None:
    failed = Answer(0.1, 500)
    waits = [after(failed, attempt) for attempt in range(1, len(DELAYS_S) + 1)]
    assert waits == [TryAgain(delay) for delay in sorted(DELAYS_S)]
    assert after(failed, len(DELAYS_S) + 1) == GiveUp()
    assert 20 * 3600 < sum(DELAYS_S) < 24 * 3600
    assert after(failed, random=1.0) == TryAgain(6)


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    assert after(Answer(0.1, 429, retry_after_s=90)) == TryAgain(90)
    assert after(Answer(0.1, 429, retry_after_s=1)) == TryAgain(5)
    assert after(Answer(0.1, 503, retry_after_s=1e9)) == TryAgain(6 * 3600)


def test_gone_disables_at_once() -> None:
    assert after(Answer(0.1, 410)) == GiveUp("the receiver answered 410 Gone: it wants no more")


def test_what_was_sent_by_hand_is_not_tried_again_and_disables_nothing() -> None:
    assert after(Answer(0.1, 500), retries=False, failing_for_s=2 * DISABLES_AFTER_S) == GiveUp()


def test_days_without_any_success_disable_but_not_before_an_event_had_all_its_tries() -> None:
    failed, last = Answer(0.1, error="no answer within 10 s"), len(DELAYS_S) + 1
    assert after(failed, 1, failing_for_s=DISABLES_AFTER_S) == TryAgain(5)
    assert after(failed, last, failing_for_s=DISABLES_AFTER_S - 1) == GiveUp()
    assert after(failed, last, failing_for_s=DISABLES_AFTER_S) == GiveUp(
        "nothing was delivered for 3 days; last: no answer within 10 s"
    )
