"""Who gets CPUs, and what the others are told."""

import pytest

from service.scheduler import Decision, Waiting, decide


def test_a_job_takes_as_many_cpus_as_it_can_use_and_the_next_what_is_left() -> None:
    decision = decide([Waiting("a", 1, 2), Waiting("b", 1, 8)], free=4, total=4)
    assert decision == Decision(starts={"a": 2, "b": 2})


def test_a_job_waits_until_its_least_is_free_and_says_so() -> None:
    decision = decide([Waiting("a", 2, 4)], free=1, total=4)
    assert decision.starts == {}
    assert decision.reasons == {"a": "waits for 2 free CPUs at once: needs 2, 1 of 4 is free"}


def test_a_job_is_not_overtaken_even_by_one_that_would_fit() -> None:
    decision = decide([Waiting("big", 3, 3), Waiting("small", 1, 1), Waiting("last", 1, 1)], free=2, total=4)
    assert decision.starts == {}
    assert decision.reasons["small"] == "waits for a free CPU: needs 1, 2 of 4 are free; 1 job before it"
    assert decision.reasons["last"].endswith("; 2 jobs before it")


def test_a_job_that_needs_more_than_there_is_says_so_and_holds_up_nobody() -> None:
    decision = decide([Waiting("huge", 4, 4), Waiting("small", 1, 1)], free=2, total=2)
    assert decision.reasons == {"huge": "needs 4 CPUs at once; the cluster has 2"}
    assert decision.starts == {"small": 1}


def test_a_job_that_found_no_place_keeps_its_reason_and_holds_up_nobody() -> None:
    decision = decide([Waiting("big", 2, 2, not_placed=True), Waiting("small", 1, 1)], free=2, total=2)
    assert decision == Decision(starts={"small": 1})


def test_those_that_start_are_not_before_those_that_wait() -> None:
    decision = decide([Waiting("a", 1, 1), Waiting("b", 1, 1)], free=1, total=1)
    assert decision == Decision({"a": 1}, {"b": "waits for a free CPU: needs 1, 0 of 1 are free"})


def test_a_resumed_job_says_that_it_resumes() -> None:
    decision = decide([Waiting("a", 1, 1, paused=True)], free=0, total=2)
    assert decision.reasons["a"] == "resumes when it is its turn: waits for a free CPU: needs 1, 0 of 2 are free"


@pytest.mark.parametrize("total", [0, 1])
def test_nobody_starts_where_nothing_is_free(total: int) -> None:
    assert decide([Waiting("a", 1, 1)], free=0, total=total).starts == {}
