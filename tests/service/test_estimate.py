"""When jobs that wait will start, as far as that can be told."""

from service.allocation import Waiting
from service.estimate import Ends, starts_in

LASTS = {"a": 10.0}


def waits(job_id: str, cpus_min: int = 1, cpus_max: int | None = None) -> Waiting:
    return Waiting(job_id, cpus_min, cpus_max or cpus_min, tenant=job_id[0])


def test_a_job_starts_when_one_that_runs_ends() -> None:
    assert starts_in([waits("a1")], [Ends(1, 7.0), Ends(1, 3.0)], 0, {}) == {"a1": 3.0}
    assert starts_in([waits("a1", 2)], [Ends(1, 7.0), Ends(1, 3.0)], 0, {}) == {"a1": 7.0}


def test_those_behind_start_when_those_before_have_ended() -> None:
    found = starts_in([waits("a1"), waits("a2"), waits("a3")], [Ends(1, 3.0), Ends(1, 5.0)], 0, LASTS)
    assert found == {"a1": 3.0, "a2": 5.0, "a3": 13.0}


def test_nobody_is_told_to_start_before_the_one_before_it() -> None:
    found = starts_in([waits("a1", 2), waits("a2")], [Ends(1, 1.0), Ends(1, 9.0)], 0, LASTS)
    assert found == {"a1": 9.0, "a2": 19.0}


def test_a_job_that_takes_more_than_it_needs_leaves_less() -> None:
    assert starts_in([waits("a1", 1, 2), waits("a2")], [Ends(2, 1.0)], 0, LASTS) == {"a1": 1.0, "a2": 11.0}


def test_nothing_is_told_of_what_is_not_known() -> None:
    assert starts_in([waits("a1")], [Ends(1, None)], 0, LASTS) == {}
    assert starts_in([waits("b1"), waits("b2")], [Ends(1, 1.0)], 0, LASTS) == {"b1": 1.0}
    assert starts_in([waits("a1"), waits("a2", 2), waits("a3")], [Ends(1, None), Ends(1, 2.0)], 0, LASTS) == {"a1": 2.0}
