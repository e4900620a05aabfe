"""What follows when an attempt is lost."""

import errno
import os
from dataclasses import replace

import pytest

from workers.failures import (
    MAX_INTERNAL_ERRORS,
    MAX_LOSSES_WITHOUT_PROGRESS,
    MAX_OUT_OF_MEMORY,
    PLACE_AGAIN_AFTER_S,
    GiveUp,
    Losses,
    Retry,
    after_loss,
    back_off_s,
    death_of,
    loss_by,
    pauses_because,
    retry_write_after_s,
)
from workers.job import AttemptLost, InternalError, NotPlaced, OutOfMemory, TooFewCpus


def lost_by(*losses: AttemptLost, progress: bool = False) -> list[Retry | GiveUp]:
    """What is decided after each of the losses, with or without a new checkpoint before each."""
    decisions, counted = [], Losses()
    for loss in losses:
        counted = (replace(counted, without_progress=0, internal_errors=0) if progress else counted).and_one_by(loss)
        decisions.append(after_loss(loss, counted))
    return decisions


def test_a_lost_attempt_is_tried_again_and_says_why() -> None:
    (decision,) = lost_by(AttemptLost("a gradient worker died"))
    assert decision == Retry("a gradient worker died; tried again from the newest checkpoint")


def test_a_job_that_is_lost_time_after_time_without_a_checkpoint_is_given_up() -> None:
    *retries, last = lost_by(*[AttemptLost("a node died")] * MAX_LOSSES_WITHOUT_PROGRESS)
    assert [type(decision) for decision in retries] == [Retry] * (MAX_LOSSES_WITHOUT_PROGRESS - 1)
    assert last == GiveUp(f"lost {MAX_LOSSES_WITHOUT_PROGRESS} times without a new checkpoint; last: a node died")


def test_a_job_that_gets_on_between_its_losses_is_tried_again_for_ever_and_at_once() -> None:
    decisions = lost_by(*[AttemptLost("a node died")] * 20, progress=True)
    assert {(type(decision), getattr(decision, "in_s", None)) for decision in decisions} == {(Retry, 0.0)}


def test_an_outage_of_five_minutes_loses_no_job() -> None:
    assert sum(back_off_s(losses) for losses in range(1, MAX_LOSSES_WITHOUT_PROGRESS)) > 300


def test_the_first_retry_comes_at_once_and_each_further_one_after_twice_the_time_up_to_a_minute() -> None:
    assert [back_off_s(losses) for losses in range(1, 11)] == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert back_off_s(10_000) == 60
    _, second, _ = lost_by(*[AttemptLost("a node died")] * 3)
    assert second == Retry("a node died; tried again in 1 s from the newest checkpoint", 1.0)


@pytest.mark.parametrize("progress", [False, True])
def test_a_job_that_is_out_of_memory_is_tried_again_twice_whatever_progress_it_makes(progress: bool) -> None:
    loss = OutOfMemory("out of memory: the machine has none left")
    *retries, last = lost_by(*[loss] * MAX_OUT_OF_MEMORY, progress=progress)
    assert [type(decision) for decision in retries] == [Retry, Retry]
    assert last == GiveUp("out of memory: the machine has none left; given up after 3 such attempts")


def test_a_job_that_found_no_place_is_tried_again_however_often_it_was_lost() -> None:
    loss = NotPlaced("the cluster found no place for it within 60 s")
    losses = Losses(MAX_LOSSES_WITHOUT_PROGRESS, out_of_memory=MAX_OUT_OF_MEMORY)
    assert losses.and_one_by(loss) == losses
    why = "the cluster found no place for it within 60 s, as other programs use it too; tried again in 30 s"
    assert after_loss(loss, losses) == Retry(why, PLACE_AGAIN_AFTER_S)


def test_a_job_for_which_the_cluster_has_become_too_small_waits_for_nothing_but_cpus() -> None:
    loss = TooFewCpus("needs 2 CPUs at once; the cluster has 1")
    assert Losses().and_one_by(loss) == Losses()
    assert after_loss(loss, Losses()) == Retry("needs 2 CPUs at once; the cluster has 1")


def test_an_internal_error_is_tried_again_once() -> None:
    loss = loss_by(TypeError("unsupported operand in /srv/chainrule/workers"))
    decisions = lost_by(*[loss] * MAX_INTERNAL_ERRORS)
    assert [type(decision) for decision in decisions] == [Retry, GiveUp]
    assert decisions[-1].reason == "internal error (TypeError); the service's log has the details"


@pytest.mark.parametrize("lost", [AttemptLost("a node died"), OutOfMemory("out of memory")])
def test_an_internal_error_is_tried_again_once_whatever_else_was_lost_before_or_between(lost: AttemptLost) -> None:
    error = loss_by(TypeError())
    decisions = lost_by(lost, error, lost, error)
    assert [type(decision) for decision in decisions] == [Retry, Retry, Retry, GiveUp]
    assert decisions[-1].reason == str(error)


def test_internal_errors_count_among_the_losses_after_which_a_job_is_given_up() -> None:
    lost = [AttemptLost("a node died")] * (MAX_LOSSES_WITHOUT_PROGRESS - 1)
    *retries, last = lost_by(loss_by(TypeError()), *lost)
    assert {type(decision) for decision in retries} == {Retry}
    assert last == GiveUp(f"lost {MAX_LOSSES_WITHOUT_PROGRESS} times without a new checkpoint; last: a node died")


def test_a_death_for_want_of_memory_is_told_from_any_other_though_ray_names_that_cause_for_every_kill() -> None:
    monitor = "The actor died.\n\tTask was killed due to the node running low on memory.\nMemory on the node …"
    killed = "The actor died unexpectedly.\n(1) the process was killed by the OOM killer …"
    assert type(death_of("a process", monitor)) is OutOfMemory
    assert type(death_of("a process", killed)) is AttemptLost
    assert str(death_of("a process", killed)) == "a process died: The actor died unexpectedly"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (AttemptLost("a worker died"), AttemptLost, "a worker died"),
        (OSError(errno.ENOSPC, "No space left on device", "/secret"), AttemptLost, "No space left on device"),
        (MemoryError(), OutOfMemory, "out of memory"),
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
