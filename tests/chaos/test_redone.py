"""What a job did again is told from its log."""

from datetime import UTC, datetime, timedelta

import pytest

from chainrule import LogLine
from chaos.redone import Redone, longest_write_s, never_resumed, redone

BEGAN = datetime(2026, 11, 27, tzinfo=UTC)


def lines(*told: tuple[float, str]) -> list[LogLine]:
    same = {"level": "info", "source": "coordinator", "attempt": 1}
    at = [((BEGAN + timedelta(seconds=seconds)).isoformat(), message) for seconds, message in told]
    return [LogLine.of({"seq": seq, "at": when, "message": what, **same}) for seq, (when, what) in enumerate(at, 1)]


def test_of_each_attempt_the_time_from_its_checkpoint_to_the_last_epoch_before_it_counts() -> None:
    log = lines(
        (0.0, "computes with 2 workers; starts from the beginning"),
        (1.0, "epoch 1 of 1,500: training loss 2"),
        (2.0, "epoch 2 of 1,500: training loss 2"),
        (3.5, "epoch 3 of 1,500: training loss 2"),
        (9.0, "computes with 2 workers; resumes from the checkpoint of step 25"),
        (9.5, "epoch 4 of 1,500: training loss 2"),
        (20.0, "computes with 2 workers; resumes from the checkpoint of step 40"),
        (21.0, "epoch 5 of 1,500: training loss 2"),
        (30.0, "computes with 2 workers; resumes from the checkpoint of step 20"),
    )
    trained_s = [1.0, 2.0, 3.5, 4.0, 5.0]  # which goes on from that of the checkpoint
    metrics = [{"epoch": epoch, "elapsed_s": seconds} for epoch, seconds in enumerate(trained_s, 1)]
    found = list(redone(log, metrics, steps_per_epoch=10))
    assert [each.seconds for each in found] == pytest.approx([1.5, 0.0, 3.0])
    assert all(each.from_checkpoint for each in found)


def test_an_attempt_that_starts_from_the_beginning_does_all_again_that_was_done_before() -> None:
    log = lines(
        (0.0, "computes with 2 workers; starts from the beginning"),
        (0.1, "computes with 2 workers; starts from the beginning"),  # the one before was lost in its first epoch
        (1.0, "epoch 1 of 1,500: training loss 2"),
        (2.0, "epoch 2 of 1,500: training loss 2"),
        (9.0, "computes with 2 workers; starts from the beginning"),
    )
    metrics = [{"epoch": epoch, "elapsed_s": float(epoch)} for epoch in (1, 2)]
    assert list(redone(log, metrics, steps_per_epoch=10)) == [Redone(2.0, from_checkpoint=False)]


def test_many_attempts_of_which_none_found_a_checkpoint_show_that_none_is_read() -> None:
    anew, resumed = Redone(0.5, from_checkpoint=False), Redone(0.5, from_checkpoint=True)
    assert never_resumed([anew] * 5)
    assert not never_resumed([anew] * 4)
    assert not never_resumed([*[anew] * 5, resumed])


def test_a_job_that_was_never_lost_did_nothing_again() -> None:
    log = lines((0.0, "starts from the beginning"), (1.0, "epoch 1 of 2: training loss 2"))
    assert list(redone(log, [{"epoch": 1, "elapsed_s": 1.0}], 10)) == []


def test_the_longest_write_of_a_checkpoint_is_told() -> None:
    log = lines(
        (0.0, "starts from the beginning"),
        (1.0, "the checkpoint of step 1,068 is written: 0.1 MB in 0.01 s"),
        (2.0, "the checkpoint of step 2,068 is written: 70.1 MB in 1,010.25 s"),
        (3.0, "the checkpoint of step 3,068 is written"),
    )
    assert longest_write_s(log) == 1010.25
    assert longest_write_s(log[:1]) == 0.0
