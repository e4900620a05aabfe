"""The place of every job that waits is the one in which it is served."""

from hypothesis import given
from hypothesis import strategies as st

from service.allocation import Waiting
from service.fairness import InUse, Sharing, Turns
from service.line import Line, Reserved, Waits
from service.quota import Quota

TIMES = ["2026-11-27T10:00:00.000000Z", "2026-11-27T11:00:00.000000Z", "2026-11-27T12:00:00.000000Z"]

tenants = st.sampled_from("abc")
waits = st.tuples(tenants, st.integers(0, 2), st.integers(1, 3), st.sampled_from([None, None, None, *TIMES]))


def line_of(jobs: list[Waiting], in_use: dict[str, InUse], sharing: Sharing) -> Line:
    ordered = sorted(jobs, key=lambda job: (job.tenant, -job.priority, job.age))
    return Line.of(
        [Waits(job.tenant, job.priority, job.age, job.cpus_min) for job in ordered],
        in_use,
        sharing,
        {job.tenant: job.served_at for job in jobs if job.served_at},
        [Reserved(job.tenant, job.priority, job.age, job.reserved_at) for job in jobs if job.reserved_at],
    )


@given(
    st.lists(waits, max_size=12),
    st.dictionaries(tenants, st.integers(0, 4)),
    st.dictionaries(tenants, st.sampled_from(TIMES)),
    st.dictionaries(tenants, st.sampled_from([0.5, 2.0, 4.0])),
)
def test_whoever_waits_has_the_place_in_which_it_is_served(
    found: list[tuple[str, int, int, str | None]],
    cpus: dict[str, int],
    served: dict[str, str],
    shares: dict[str, float],
) -> None:
    jobs, reserved = [], set()
    for number, (tenant, priority, cpus_min, reserved_at) in enumerate(found):
        is_first = not any(job.tenant == tenant and job.priority >= priority for job in jobs)
        kept = reserved_at if is_first and reserved_at not in reserved else None  # one is kept at a time, a first one
        reserved.add(kept)
        jobs.append(
            Waiting(
                str(number),
                cpus_min,
                cpus_min,
                priority,
                tenant=tenant,
                age=number,
                reserved_at=kept,
                served_at=served.get(tenant),
            )
        )
    in_use = {tenant: InUse(1, count) for tenant, count in cpus.items()}
    sharing = Sharing({tenant: Quota(share=share) for tenant, share in shares.items()})
    turns, order = Turns(jobs, sharing, in_use), []
    for job in turns:
        turns.count(job, job.cpus_min)
        order.append(job.age)
    line = line_of(jobs, in_use, sharing)
    assert [line.place(jobs[number].tenant, jobs[number].priority, number) for number in order] == list(
        range(1, len(order) + 1)
    )


def test_a_job_that_the_line_does_not_know_yet_has_its_place_too() -> None:
    line = line_of([Waiting("1", 1, 1, age=1, tenant="a"), Waiting("2", 1, 1, age=2, tenant="a")], {}, Sharing())
    assert [line.place("a", 0, 3), line.place("b", 0, 3), line.place("a", 1, 3), line.place("b", -1, 3)] == [3, 2, 1, 3]
    assert Line().place("a", 0, 1) == 1


def test_a_job_for_which_cpus_are_kept_is_before_all_of_its_priority() -> None:
    jobs = [
        Waiting("1", 1, 1, age=1, tenant="a"),
        Waiting("2", 4, 4, age=2, tenant="b", reserved_at=TIMES[0]),
        Waiting("3", 1, 1, age=3, tenant="b"),
        Waiting("4", 1, 1, age=4, tenant="c", priority=1),
    ]
    line = line_of(jobs, {"b": InUse(1, 2)}, Sharing())
    assert [line.place(job.tenant, job.priority, job.age) for job in jobs] == [3, 2, 4, 1]
