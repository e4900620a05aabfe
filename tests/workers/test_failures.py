"""What follows when an attempt is lost."""

from workers.failures import MAX_LOSSES_WITHOUT_PROGRESS, GiveUp, Retry, after_loss


def test_a_lost_attempt_is_tried_again_and_says_why() -> None:
    decision = after_loss("a gradient worker died", 1)
    assert isinstance(decision, Retry)
    assert decision.reason.startswith("a gradient worker died")


def test_a_job_that_is_lost_time_after_time_without_a_checkpoint_is_given_up() -> None:
    decisions = [after_loss("out of memory", losses) for losses in range(1, MAX_LOSSES_WITHOUT_PROGRESS + 1)]
    assert [type(decision) for decision in decisions] == [Retry] * (MAX_LOSSES_WITHOUT_PROGRESS - 1) + [GiveUp]
    assert "out of memory" in decisions[-1].reason
