"""What follows when an attempt is lost."""

import errno
import os

import pytest

from workers.failures import (
    MAX_INTERNAL_ERRORS,
    MAX_LOSSES_WITHOUT_PROGRESS,
    GiveUp,
    Retry,
    after_loss,
    loss_by,
    pauses_because,
    retry_write_after_s,
)
from workers.job import AttemptLost, InternalError, NotPlaced


def test_a_lost_attempt_is_tried_again_and_says_why() -> None:
    decision = after_loss(AttemptLost("a gradient worker died"), 1)
    assert isinstance(decision, Retry)
    assert decision.reason.startswith("a gradient worker died")


def test_a_job_that_is_lost_time_after_time_without_a_checkpoint_is_given_up() -> None:
    loss = AttemptLost("out of memory")
    decisions = [after_loss(loss, losses) for losses in range(1, MAX_LOSSES_WITHOUT_PROGRESS + 1)]
    assert [type(decision) for decision in decisions] == [Retry] * (MAX_LOSSES_WITHOUT_PROGRESS - 1) + [GiveUp]
    assert "out of memory" in decisions[-1].reason


def test_a_job_that_found_no_place_is_tried_again_however_often_it_was_lost() -> None:
    decision = after_loss(NotPlaced("the cluster found no place for it within 60 s"), MAX_LOSSES_WITHOUT_PROGRESS)
    assert isinstance(decision, Retry)
    assert decision.reason.startswith("the cluster found no place for it within 60 s")


def test_an_internal_error_is_tried_again_once() -> None:
    loss = loss_by(TypeError("unsupported operand in /srv/chainrule/workers"))
    decisions = [after_loss(loss, losses) for losses in range(1, MAX_INTERNAL_ERRORS + 1)]
    assert [type(decision) for decision in decisions] == [Retry, GiveUp]
    assert decisions[-1].reason == "internal error (TypeError); the service's log has the details"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (AttemptLost("a worker died"), AttemptLost, "a worker died"),
        (OSError(errno.ENOSPC, "No space left on device", "/secret"), AttemptLost, "No space left on device"),
        (MemoryError(), AttemptLost, "no memory left"),
        (TypeError("secret"), InternalError, "internal error (TypeError)"),
        (AssertionError("secret"), InternalError, "internal error (AssertionError)"),
    ],
)
def test_what_the_machine_did_is_told_apart_from_mistakes_of_ours_and_no_raw_text_is_told(
    error: BaseException, kind: type[AttemptLost], message: str
) -> None:
    loss = loss_by(error)
    assert type(loss) is kind
    assert message in str(loss)
    assert "secret" not in str(loss)


def test_a_write_is_tried_again_after_twice_as_long_each_time_up_to_five_minutes() -> None:
    waits = [retry_write_after_s(failures) for failures in range(1, 10)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert retry_write_after_s(5_000) == 300


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "its model cannot be written: No space left on device; resume it when there is room"),
        (errno.EDQUOT, "its model cannot be written: Disk quota exceeded; resume it when there is room"),
        (errno.EIO, "its model cannot be written: Input/output error; resume it when that is mended"),
    ],
)
def test_a_job_that_pauses_says_what_is_to_be_done(number: int, reason: str) -> None:
    error = OSError(number, os.strerror(number), "/secret")
    assert pauses_because("its model cannot be written", error) == reason
