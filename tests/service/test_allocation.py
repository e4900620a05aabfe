"""Who gets CPUs, who gives them up, and what the others are told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.allocation import HOLDS_S, TOLD, Cpus, Decision, IdleCpus, Running, Waiting, decide


def running(job_id: str, on: int, cpus_min: int = 1, cpus_max: int = 8, priority: int = 0, **more: Any) -> Running:
    """A job that computes on so many CPUs; the later it is in the alphabet, the newer."""
    values = {"age": ord(job_id[0]), "workers": on, "wanted": on, "cpus": on, **more}
    return Running(job_id, cpus_min, cpus_max, priority, **values)


def decided(waiting: Sequence[Waiting], jobs: Sequence[Running] = (), *, total: int, idle: int = 0) -> Decision:
    return decide(waiting, jobs, Cpus(total, total - sum(job.cpus for job in jobs), idle))


# ---------------------------------------------------------------- starting, and waiting
def test_a_job_takes_as_many_cpus_as_it_can_use_and_the_next_what_is_left() -> None:
    assert decided([Waiting("a", 1, 2), Waiting("b", 1, 8)], total=4) == Decision(starts={"a": 2, "b": 2})


def test_a_job_waits_until_its_least_is_free_and_says_so() -> None:
    decision = decided([Waiting("a", 2, 4)], [running("r", 3)], total=4)
    reasons = {"a": "waits for 2 free CPUs at once: needs 2, 1 of 4 is free"}
    assert decision == Decision(reasons=reasons, reserves="a")


def test_a_job_is_not_overtaken_even_by_one_that_would_fit() -> None:
    waiting = [Waiting("big", 3, 3), Waiting("small", 1, 1), Waiting("last", 1, 1)]
    decision = decided(waiting, [running("r", 2)], total=4)
    assert decision.starts == {}
    assert decision.reasons["small"] == "waits for a free CPU: needs 1, 2 of 4 are free; 1 job before it"
    assert decision.reasons["last"].endswith("; 2 jobs before it")


def test_a_job_that_needs_more_than_there_is_says_so_and_holds_up_nobody() -> None:
    decision = decided([Waiting("huge", 4, 4), Waiting("small", 1, 1)], total=2)
    assert decision == Decision({"small": 1}, reasons={"huge": "needs 4 CPUs at once; the cluster has 2"})


def test_those_that_start_are_not_before_those_that_wait() -> None:
    decision = decided([Waiting("a", 1, 1), Waiting("b", 1, 1)], total=1)
    assert decision == Decision({"a": 1}, reasons={"b": "waits for a free CPU: needs 1, 0 of 1 are free"})


def test_a_resumed_job_says_that_it_resumes() -> None:
    decision = decided([Waiting("a", 1, 1, paused=True)], [running("r", 2)], total=2)
    assert decision.reasons["a"] == "resumes when it is its turn: waits for a free CPU: needs 1, 0 of 2 are free"


def test_a_preempted_job_says_for_whom_it_gave_way_and_when_it_resumes() -> None:
    waiting = [Waiting("a", 2, 2, paused=True, preempted_by="b (priority 5)")]
    needs_2 = "preempted by b (priority 5); resumes by itself when 2 CPUs are free"
    assert decided(waiting, [running("b", 1, priority=5)], total=2).reasons == {"a": needs_2}
    assert decided(waiting, total=1).reasons == {
        "a": "preempted by b (priority 5); needs 2 CPUs at once; the cluster has 1"
    }


def test_far_back_in_the_queue_a_job_is_not_told_its_place_again_and_again() -> None:
    waiting = [Waiting(str(number), 1, 1) for number in range(TOLD + 3)]
    reasons = decided(waiting, [running("r", 1)], total=1).reasons
    assert reasons[str(TOLD)].endswith(f"; {TOLD} jobs before it")
    assert {reasons[str(TOLD + 1)], reasons[str(TOLD + 2)]} == {
        f"waits for its turn: more than {TOLD} jobs are before it"
    }


@pytest.mark.parametrize("total", [0, 1])
def test_nobody_starts_where_nothing_is_free(total: int) -> None:
    assert decided([Waiting("a", 1, 1)], [running("r", total)], total=total).starts == {}


def test_nobody_starts_on_cpus_of_a_node_that_has_left() -> None:
    assert decided([Waiting("a", 1, 1)], [running("r", 4)], total=2).starts == {}


# ---------------------------------------------------------------- jobs that are to be tried again
def test_a_job_that_is_to_be_tried_again_keeps_its_reason_and_holds_up_nobody() -> None:
    decision = decided([Waiting("lost", 2, 2, due_in_s=HOLDS_S + 1), Waiting("small", 1, 1)], total=2)
    assert decision == Decision(starts={"small": 1})


def test_cpus_are_kept_from_lower_jobs_for_one_that_is_tried_again_in_a_moment() -> None:
    soon = Waiting("lost", 2, 2, priority=5, due_in_s=HOLDS_S)
    decision = decided([soon, Waiting("low", 1, 1), Waiting("lower", 1, 1, priority=-1)], total=2)
    kept = (
        "waits for a free CPU: needs 1, 2 of 2 are free, 2 kept for a job of higher priority that is tried again soon"
    )
    assert decision.reasons["low"] == kept
    assert decision.starts == {}
    assert decided([soon, Waiting("equal", 1, 1, priority=5)], total=2).starts == {"equal": 1}
    assert decided([soon, Waiting("low", 1, 1)], total=3).starts == {"low": 1}


# ---------------------------------------------------------------- making room
def test_a_lower_job_shrinks_by_as_much_as_a_higher_one_needs_to_start() -> None:
    decision = decided([Waiting("high", 2, 4, priority=1)], [running("a", 4)], total=4)
    assert decision.resizes == {"a": 2}
    assert decision.preempts == {}


def test_the_lowest_then_the_newest_shrinks_first() -> None:
    jobs = [running("a", 2), running("b", 2), running("c", 2, priority=1)]
    high = Waiting("high", 1, 1, priority=2)
    assert decided([high], jobs, total=6).resizes == {"b": 1}
    assert decided([Waiting("high", 3, 3, priority=2)], jobs, total=6).resizes == {"a": 1, "b": 1, "c": 1}


def test_jobs_of_the_same_priority_make_no_room() -> None:
    decision = decided([Waiting("next", 1, 1)], [running("a", 4)], total=4)
    assert (decision.resizes, decision.preempts) == ({}, {})


def test_a_job_is_preempted_where_shrinking_is_not_enough() -> None:
    decision = decided([Waiting("high", 2, 2, priority=5)], [running("a", 2, cpus_min=2)], total=2)
    assert decision == Decision(
        preempts={"a": "high (priority 5)"},
        reasons={"high": "waits for 2 free CPUs at once: needs 2, 0 of 2 are free"},
    )


def test_a_job_that_gives_way_is_told_nothing_of_another_tenants() -> None:
    jobs = [running("a", 2, cpus_min=2, tenant="risk"), running("b", 2, cpus_min=2, tenant="sales")]
    decision = decided([Waiting("high", 4, 4, priority=5, tenant="risk")], jobs, total=4)
    assert decision.preempts == {"a": "high (priority 5)", "b": "a job of higher priority"}


def test_as_few_as_possible_are_preempted_and_the_others_shrink_by_the_rest() -> None:
    jobs = [running("a", 3, cpus_min=2), running("b", 2, cpus_min=1), running("c", 1)]
    decision = decided([Waiting("high", 4, 4, priority=1)], jobs, total=6)
    assert list(decision.preempts) == ["a"]  # b and c would do too, but they are two
    assert decision.resizes == {"b": 1}


def test_of_equals_the_newest_is_preempted() -> None:
    jobs = [running("a", 1), running("b", 1), running("c", 1)]
    assert list(decided([Waiting("high", 1, 1, priority=1)], jobs, total=3).preempts) == ["c"]


def test_a_job_of_the_lowest_priority_is_preempted_even_where_a_higher_one_alone_would_be_enough() -> None:
    jobs = [running("a", 1), running("b", 1), running("c", 2, cpus_min=2, priority=1)]
    assert set(decided([Waiting("high", 2, 2, priority=2)], jobs, total=4).preempts) == {"a", "b"}


def test_nobody_makes_room_in_vain() -> None:
    jobs = [running("a", 2), running("b", 2, cpus_min=2, priority=9)]
    decision = decided([Waiting("high", 4, 4, priority=5)], jobs, total=4)
    assert (decision.resizes, decision.preempts) == ({}, {})


def test_room_that_is_being_made_is_not_made_again() -> None:
    high = Waiting("high", 2, 2, priority=5)
    shrinking = running("a", 4, wanted=2)
    stopping = running("b", 2, cpus_min=2, stopping=True)
    for jobs in ([shrinking, running("c", 1)], [stopping, running("c", 1)]):
        decision = decided([high], jobs, total=sum(job.cpus for job in jobs))
        assert (decision.resizes, decision.preempts) == ({}, {})


def test_a_growth_that_is_not_done_yet_gives_way_too() -> None:
    growing = running("a", 1, wanted=3, cpus=3)
    assert decided([Waiting("high", 1, 1, priority=1)], [growing], total=3).resizes == {"a": 2}


# ---------------------------------------------------------------- growing
def test_running_jobs_grow_into_idle_cpus_by_priority_then_age() -> None:
    jobs = [running("a", 1, cpus_max=2), running("b", 1, cpus_max=4), running("c", 1, cpus_max=3, priority=1)]
    assert decided([], jobs, total=7, idle=4).resizes == {"c": 3, "a": 2, "b": 2}


def test_cpus_that_have_just_become_free_are_not_grown_into() -> None:
    assert decided([], [running("a", 1)], total=3, idle=0) == Decision()


@pytest.mark.parametrize(
    "waits", [Waiting("big", 4, 4), Waiting("lost", 1, 1, due_in_s=60)], ids=["needs more", "is tried again later"]
)
def test_nobody_grows_while_somebody_waits_who_could_use_the_cpus(waits: Waiting) -> None:
    assert decided([waits], [running("a", 1)], total=4, idle=3).resizes == {}


def test_a_job_that_is_too_large_for_the_cluster_keeps_nobody_from_growing() -> None:
    assert decided([Waiting("huge", 9, 9)], [running("a", 1)], total=4, idle=3).resizes == {"a": 4}


def test_what_has_just_been_started_on_is_not_grown_into() -> None:
    decision = decided([Waiting("new", 1, 2)], [running("a", 1)], total=4, idle=3)
    assert decision == Decision(starts={"new": 2}, resizes={"a": 2})


@pytest.mark.parametrize("more", [{"stopping": True}, {"wanted": 2, "cpus": 2}, {"workers": 0}])
def test_a_job_that_stops_or_resizes_does_not_grow(more: dict[str, Any]) -> None:
    assert decided([], [running("a", 1, **more)], total=8, idle=5).resizes == {}


def test_a_growth_that_is_not_made_use_of_is_taken_back() -> None:
    assert decided([], [running("a", 1, wanted=3, cpus=3, overdue=True)], total=3).resizes == {"a": 1}


def test_a_job_that_has_lost_workers_keeps_its_least_for_those_who_replace_them() -> None:
    assert decided([], [running("a", 1, cpus_min=2, wanted=2, cpus=2, overdue=True)], total=1) == Decision()
    assert decided([], [running("a", 1, cpus_min=2, wanted=4, cpus=4, overdue=True)], total=2).resizes == {"a": 2}


def test_a_job_that_does_not_shrink_when_asked_to_is_paused_for_the_one_that_waits() -> None:
    stuck = running("a", 3, cpus_min=1, wanted=1, cpus=3)
    first = decided([Waiting("b", 2, 2, priority=1)], [stuck], total=3)
    assert (first.resizes, first.preempts) == ({}, {})  # two CPUs are coming
    later = decided([Waiting("b", 2, 2, priority=1)], [replace(stuck, overdue=True)], total=3)
    assert (later.resizes, list(later.preempts)) == ({}, ["a"])


def test_only_what_has_been_free_all_the_while_is_idle() -> None:
    idle = IdleCpus(for_s=3.0)
    seen = [(0.0, 2), (2.9, 2), (3.0, 5), (4.0, 1), (4.1, 5), (6.9, 5), (7.0, 5), (7.1, 5), (8.0, -1)]
    assert [idle.after(now, free) for now, free in seen] == [0, 0, 2, 1, 1, 1, 1, 5, 0]


# ---------------------------------------------------------------- whatever there is
@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Waiting], list[Running], Cpus]:
    jobs = []
    for number in range(draw(st.integers(0, 5))):
        least = draw(st.integers(1, 4))
        most = draw(st.integers(least, 8))
        workers, wanted = draw(st.integers(1, most)), draw(st.integers(1, most))
        jobs.append(
            Running(
                f"r{number}",
                least,
                most,
                draw(st.integers(0, 2)),
                number,
                workers,
                wanted,
                max(workers, wanted),
                stopping=draw(st.booleans()),
                overdue=draw(st.booleans()) and workers != wanted,
            )
        )
    waiting = [
        Waiting(f"w{number}", least, most, priority, due_in_s=due_in_s)
        for number, (least, most, priority, due_in_s) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.integers(1, 4), st.integers(4, 8), st.integers(0, 2), st.sampled_from([0, 0, 1, 60])),
                    max_size=5,
                )
            )
        )
    ]
    waiting.sort(key=lambda job: -job.priority)
    total = sum(job.cpus for job in jobs) + draw(st.integers(-2, 6))
    free = total - sum(job.cpus for job in jobs)
    return waiting, jobs, Cpus(total, free, draw(st.integers(0, max(0, free))))


@given(clusters())
def test_whatever_there_is_no_cpu_is_given_twice_and_nobody_gives_way_but_to_a_higher_job(
    cluster: tuple[list[Waiting], list[Running], Cpus],
) -> None:
    waiting, jobs, cpus = cluster
    decision = decide(waiting, jobs, cpus)
    grown = sum(max(0, decision.resizes.get(job.id, 0) - job.cpus) for job in jobs)
    assert sum(decision.starts.values()) + grown <= max(0, cpus.free)
    by_id = {job.id: job for job in waiting}
    for job in jobs:
        asked = decision.resizes.get(job.id)
        if asked is not None:
            assert not job.stopping
            assert job.id not in decision.preempts
            assert min(job.cpus_min, job.wanted) <= asked <= job.cpus_max
        if job.id in decision.preempts:
            assert by_id[decision.preempts[job.id].split()[0]].priority > job.priority
    for job_id, on in decision.starts.items():
        assert by_id[job_id].cpus_min <= on <= by_id[job_id].cpus_max


@given(clusters())
def test_whatever_there_is_the_first_that_waits_starts_once_the_room_that_is_made_for_it_is_there(
    cluster: tuple[list[Waiting], list[Running], Cpus],
) -> None:
    waiting, jobs, cpus = cluster
    waiting = [job for job in waiting if job.due_in_s == 0]
    decision = decide(waiting, jobs, cpus)
    first = next((job for job in waiting if job.id not in decision.starts and job.cpus_min <= cpus.total), None)
    if first is None:
        return
    left = cpus.free - sum(decision.starts.values())
    wanted = {job.id: decision.resizes.get(job.id, job.wanted) for job in jobs}
    gone = {job.id for job in jobs if job.stopping or job.id in decision.preempts}
    freed = sum(job.cpus - (0 if job.id in gone else wanted[job.id]) for job in jobs)
    could = sum(
        min(job.cpus_min, wanted[job.id]) for job in jobs if job.id not in gone and job.priority < first.priority
    )
    spare = sum(
        max(0, wanted[job.id] - job.cpus_min) for job in jobs if job.id not in gone and job.priority < first.priority
    )
    assert left + freed >= first.cpus_min or left + freed + could + spare < first.cpus_min
