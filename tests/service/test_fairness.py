"""Whose turn it is among tenants, and what their quotas keep from starting."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.allocation import Cpus, Decision, Running, Waiting, decide
from service.fairness import Sharing
from service.quota import Quota

A, B = "a", "b"


def waits(job_id: str, cpus_min: int = 1, cpus_max: int | None = None, **more: Any) -> Waiting:
    """A job of the tenant that its id begins with; the later in the alphabet, the newer."""
    values = {"tenant": job_id[0], "age": ord(job_id[1]), **more}
    return Waiting(job_id, cpus_min, cpus_max or cpus_min, **values)


def runs(job_id: str, on: int, cpus_max: int | None = None, **more: Any) -> Running:
    cpus = {"workers": on, "wanted": on, "cpus": on}
    return Running(job_id, 1, cpus_max or on, 0, age=0, tenant=job_id[0], **cpus, **more)


def decided(waiting: Sequence[Waiting], jobs: Sequence[Running] = (), *, total: int, **more: Any) -> Decision:
    sharing, has = Sharing(more.get("quotas", {})), sum(job.cpus for job in jobs)
    return decide(waiting, jobs, Cpus(total, total - has, more.get("idle", 0)), sharing)


# ---------------------------------------------------------------- whose turn it is
def test_the_tenant_with_the_fewest_cpus_is_next_however_old_the_jobs_of_others_are() -> None:
    waiting = [*(waits(f"a{letter}") for letter in "bcdefg"), waits("bz")]
    assert list(decided(waiting, [runs("aa", 1)], total=2).starts) == ["bz"]
    assert list(decided(waiting, [runs("aa", 1)], total=4).starts) == ["bz", "ab", "ac"]


def test_tenants_that_have_as_much_take_turns() -> None:
    old, new = "2026-11-27T10:00:00.000000Z", "2026-11-27T11:00:00.000000Z"
    waiting = [waits("aa", served_at=new), waits("ab", served_at=new), waits("bc", served_at=old)]
    assert list(decided(waiting, total=1).starts) == ["bc"]
    waiting = [waits("aa", served_at=new), waits("ab", served_at=new), waits("bc")]
    assert list(decided(waiting, total=3).starts) == ["bc", "aa", "ab"]


def test_of_tenants_never_served_the_one_with_the_older_job_is_next() -> None:
    assert list(decided([waits("bc"), waits("aa"), waits("ab")], total=2).starts) == ["aa", "bc"]


def test_a_tenants_older_job_is_first_in_whatever_order_they_were_read() -> None:
    assert list(decided([waits("ad"), waits("ab"), waits("ac")], total=2).starts) == ["ab", "ac"]


def test_a_higher_priority_is_before_all_fairness() -> None:
    waiting = [waits("ab", priority=1), waits("ac", priority=1), waits("ba")]
    assert list(decided(waiting, [runs("aa", 2)], total=4).starts) == ["ab", "ac"]


def test_a_larger_share_is_that_many_times_the_cpus() -> None:
    waiting = [*(waits(f"a{letter}") for letter in "abcdefgh"), *(waits(f"b{letter}") for letter in "abcdefgh")]
    starts = decided(waiting, total=8, quotas={B: Quota(share=3.0)}).starts
    assert sum(job_id.startswith("b") for job_id in starts) == 6


def test_one_tenants_jobs_do_not_overtake_each_other() -> None:
    decision = decided([waits("aa", 3), waits("ab")], [runs("ax", 2)], total=4)
    assert decision.starts == {}
    assert decision.reasons["ab"] == "waits for a free CPU: needs 1, 2 of 4 are free; 1 job before it"


# ---------------------------------------------------------------- large jobs are not starved
def test_cpus_are_kept_free_for_the_first_that_waits_and_it_keeps_its_place() -> None:
    jobs = [runs("bx", 1), runs("ax", 1)]
    large = waits("bb", 7)
    first = decided([large, waits("aa")], jobs, total=8)
    assert (first.starts, first.reserves) == ({"aa": 1}, "bb")
    kept = waits("bb", 7, reserved_at="2026-11-27T10:00:00.000000Z")
    later = decided([kept, waits("ac")], jobs[:1], total=8)  # a has the fewest CPUs now, and older jobs
    assert later.starts == {"bb": 7}
    waiting = decided([kept, waits("ac")], jobs, total=8)
    assert (waiting.starts, waiting.reserves) == ({}, None)


def test_nothing_is_kept_for_a_job_while_nothing_is_free() -> None:
    assert decided([waits("aa")], [runs("bx", 2)], total=2).reserves is None


def test_a_job_of_higher_priority_passes_one_that_keeps_its_place() -> None:
    kept = waits("ba", 2, reserved_at="2026-11-27T10:00:00.000000Z")
    assert decided([kept, waits("ab", priority=1)], [runs("bx", 1)], total=2).starts == {"ab": 1}


# ---------------------------------------------------------------- quotas
def test_over_a_quota_of_running_jobs_a_job_waits_and_those_of_others_pass_it() -> None:
    decision = decided([waits("aa"), waits("bb")], [runs("ax", 1)], total=4, quotas={A: Quota(running_jobs=1)})
    assert decision == Decision(
        starts={"bb": 1}, reasons={"aa": "waits until fewer of its tenant's jobs run: 1 runs, the quota is 1"}
    )


def test_over_a_quota_of_cpus_a_job_waits_and_so_do_later_ones_of_its_tenant_alone() -> None:
    waiting = [waits("aa", 3), waits("ab"), waits("bb")]
    decision = decided(waiting, [runs("ax", 2)], total=8, quotas={A: Quota(cpus=4)})
    assert decision.starts == {"bb": 1}
    assert decision.reasons == {
        "aa": "waits until its tenant uses fewer CPUs: needs 3, 2 of its tenant's quota of 4 CPUs in use",
        "ab": "waits for its turn behind a job of its tenant that the tenant's quota holds back",
    }


def test_a_job_that_needs_more_than_its_tenants_quota_says_so_and_holds_up_nobody() -> None:
    decision = decided([waits("aa", 3), waits("ab")], total=8, quotas={A: Quota(cpus=2)})
    assert decision == Decision(starts={"ab": 1}, reasons={"aa": "needs 3 CPUs at once; its tenant's quota is 2"})


def test_a_job_starts_on_no_more_cpus_than_its_tenants_quota_leaves() -> None:
    assert decided([waits("aa", 1, 8)], [runs("ax", 2)], total=8, quotas={A: Quota(cpus=5)}).starts == {"aa": 3}


def test_jobs_do_not_grow_beyond_the_quota_of_their_tenant_and_those_of_others_do() -> None:
    jobs = [runs("ax", 1, cpus_max=8), runs("bx", 1, cpus_max=8)]
    assert decided([], jobs, total=8, idle=6, quotas={A: Quota(cpus=2)}).resizes == {"ax": 2, "bx": 6}


@pytest.mark.parametrize("quota", [Quota(running_jobs=0), Quota(cpus=0)])
def test_a_tenant_that_may_have_nothing_keeps_nobody_from_growing(quota: Quota) -> None:
    decision = decided([waits("aa")], [runs("bx", 1, cpus_max=4)], total=4, idle=3, quotas={A: quota})
    assert (decision.starts, decision.resizes) == ({}, {"bx": 4})
