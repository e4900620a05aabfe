"""The state machine: which moves there are, and what requests and the ends of attempts mean."""

import itertools
from typing import Any, get_args

import pytest

from service.jobs import (
    MOVES,
    Flag,
    JobState,
    Move,
    Nothing,
    Requested,
    Verb,
    after_attempt_lost,
    after_end,
    after_interruption,
    give_way,
    respond,
)
from shared.errors import Conflict
from workers.failures import MAX_LOSSES_WITHOUT_PROGRESS, Losses
from workers.job import AttemptLost, OutOfMemory

S = JobState


def test_terminal_states_are_final_and_every_other_state_can_be_left() -> None:
    left = {before for before, _ in MOVES}
    assert {state for state in S if state.is_terminal} == {S.SUCCEEDED, S.FAILED, S.CANCELLED}
    assert all((state in left) != state.is_terminal for state in S)


def test_every_state_can_be_reached_from_a_submission() -> None:
    reached: set[JobState | None] = {None}
    for _ in S:
        reached |= {to for before, to in MOVES if before in reached}
    assert reached == {None, *S}


@pytest.mark.parametrize(
    ("verb", "state", "requested", "expected"),
    [
        ("cancel", S.QUEUED, None, S.CANCELLED),
        ("cancel", S.PAUSED, "resume", S.CANCELLED),
        ("cancel", S.RUNNING, "pause", "cancel"),
        ("pause", S.RUNNING, None, "pause"),
        ("pause", S.RUNNING, "resume", "pause"),
        ("pause", S.PAUSED, "resume", None),
        ("resume", S.PAUSED, None, "resume"),
        ("resume", S.RUNNING, "pause", "resume"),
    ],
)
def test_a_request_moves_a_job_or_is_noted_on_it(verb: Verb, state: S, requested: Requested, expected: Any) -> None:
    answer = respond(verb, state, requested)
    assert (answer.to if isinstance(answer, Move) else answer.requested if isinstance(answer, Flag) else "") == expected


@pytest.mark.parametrize(
    ("verb", "state", "requested"),
    [
        ("cancel", S.CANCELLED, None),
        ("cancel", S.RUNNING, "cancel"),
        ("pause", S.PAUSED, None),
        ("pause", S.RUNNING, "pause"),
        ("resume", S.RUNNING, None),
        ("resume", S.PAUSED, "resume"),
    ],
)
def test_repeating_a_request_is_harmless(verb: Verb, state: S, requested: Requested) -> None:
    assert respond(verb, state, requested) == Nothing()


@pytest.mark.parametrize(
    ("verb", "state", "requested"),
    [
        *((verb, state, None) for verb in ("pause", "resume") for state in S if state.is_terminal),
        ("cancel", S.SUCCEEDED, None),
        ("cancel", S.FAILED, None),
        ("pause", S.QUEUED, None),
        ("resume", S.QUEUED, None),
        ("pause", S.RUNNING, "cancel"),
        ("resume", S.RUNNING, "cancel"),
    ],
)
def test_an_impossible_request_is_a_conflict_that_says_the_state(verb: Verb, state: S, requested: Requested) -> None:
    with pytest.raises(Conflict, match=state):
        respond(verb, state, requested)


def test_whatever_is_asked_the_move_is_in_the_table() -> None:
    for verb, state, requested in itertools.product(get_args(Verb), S, (None, *get_args(Verb))):
        try:
            answer = respond(verb, state, requested)
        except Conflict:
            continue
        if isinstance(answer, Move):
            assert (state, answer.to) in MOVES


@pytest.mark.parametrize(
    ("outcome", "requested", "expected"),
    [
        ("succeeded", None, S.SUCCEEDED),
        ("succeeded", "pause", S.SUCCEEDED),
        ("succeeded", "cancel", S.CANCELLED),
        ("failed", "cancel", S.FAILED),
        ("failed", "pause", S.FAILED),
        ("cancelled", "cancel", S.CANCELLED),
        ("paused", "pause", S.PAUSED),
        ("paused", "resume", S.PAUSED),
        ("paused", "cancel", S.CANCELLED),
        ("paused", None, S.QUEUED),
    ],
)
def test_the_end_of_an_attempt_moves_the_job(outcome: str, requested: Requested, expected: S) -> None:
    move = after_end(outcome, requested, {"reason": None})
    assert move.to is expected
    assert (S.RUNNING, move.to) in MOVES


@pytest.mark.parametrize(("requested", "left"), [("pause", None), ("resume", "resume")])
def test_a_resume_asked_for_while_pausing_outlives_the_pause(requested: Requested, left: Requested) -> None:
    assert after_end("paused", requested, {}).requested == left
    assert after_attempt_lost(AttemptLost("a worker died"), requested, Losses(1)).requested == left


def test_a_preempted_job_is_paused_says_for_whom_and_resumes_by_itself() -> None:
    move = after_end("paused", None, {}, give_way("job_2 (priority 5)", 2))
    why = "preempted by job_2 (priority 5); resumes by itself when 2 CPUs are free"
    assert move == Move(S.PAUSED, why, requested="resume", preempted_by="job_2 (priority 5)")
    assert give_way("job_2 (priority 5)", 1).why.endswith("when 1 CPU is free")


@pytest.mark.parametrize(
    ("outcome", "requested", "expected"),
    [
        ("paused", "pause", Move(S.PAUSED, "paused by request")),
        ("paused", "cancel", Move(S.CANCELLED, "cancelled by request while running")),
        ("succeeded", None, Move(S.SUCCEEDED, "trained to its end")),
    ],
)
def test_what_a_user_asked_for_or_its_own_end_counts_more_than_giving_way(
    outcome: str, requested: Requested, expected: Move
) -> None:
    assert after_end(outcome, requested, {}, give_way("job_2 (priority 5)", 2)) == expected


def test_a_failure_keeps_its_kind_and_its_reason() -> None:
    move = after_end("failed", None, {"reason": "diverged at step 3", "error": "Diverged"})
    assert move == Move(S.FAILED, "diverged at step 3", {"type": "Diverged", "detail": "diverged at step 3"})


@pytest.mark.parametrize("requested", [None, "pause", "resume"])
def test_an_attempt_that_cannot_go_on_pauses_the_job_with_its_reason(requested: Requested) -> None:
    reason = "its model cannot be written: No space left on device; resume it when there is room"
    assert after_end("paused", requested, {"reason": reason}) == Move(S.PAUSED, reason)
    assert after_end("paused", "cancel", {"reason": reason}).to is S.CANCELLED


def test_a_lost_attempt_is_tried_again_until_it_was_lost_too_often_without_progress() -> None:
    losses = range(1, MAX_LOSSES_WITHOUT_PROGRESS + 1)
    moves = [after_attempt_lost(AttemptLost("a worker died"), None, Losses(count)) for count in losses]
    assert [move.to for move in moves] == [S.QUEUED] * (len(losses) - 1) + [S.FAILED]
    assert all("a worker died" in move.why for move in moves)
    assert [move.retry_in_s for move in moves] == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 0]


def test_a_job_that_is_out_of_memory_says_so_and_of_what_kind_its_error_is() -> None:
    move = after_attempt_lost(OutOfMemory("out of memory: a worker was ended"), None, Losses(1, out_of_memory=3))
    assert move.to is S.FAILED
    assert move.error == {"type": "OutOfMemory", "detail": move.why}
    assert move.why.startswith("out of memory")


@pytest.mark.parametrize(
    ("requested", "expected"), [("cancel", S.CANCELLED), ("pause", S.PAUSED), ("resume", S.PAUSED)]
)
def test_what_was_asked_for_holds_when_the_attempt_is_lost_or_interrupted(requested: Requested, expected: S) -> None:
    assert after_attempt_lost(AttemptLost("a worker died"), requested, Losses(1)).to is expected
    assert after_interruption(requested, "the service was interrupted").to is expected
