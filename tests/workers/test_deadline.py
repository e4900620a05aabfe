"""For how long a step may last."""

from pathlib import Path

import pytest

from shared.plan import Plan
from shared.sharding import SLICE_ROWS
from support.training import job_of
from workers.deadline import SLOW_FLOPS, STEP_WITHIN_S, TIMES_THE_LONGEST, Deadline


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return job_of(tmp_path / "job").plan


def test_short_steps_leave_the_least_deadline(plan: Plan) -> None:
    deadline = Deadline(plan)
    assert deadline.within_s == STEP_WITHIN_S
    deadline.took(0.001)
    assert deadline.within_s == STEP_WITHIN_S


def test_the_first_step_of_a_large_network_may_last_as_long_as_a_slow_core_takes(plan: Plan) -> None:
    large = plan.model_copy(update={"parameters": 10**9})
    assert Deadline(large).within_s == pytest.approx(TIMES_THE_LONGEST * 6 * 10**9 * 50 / SLOW_FLOPS)


def test_a_slice_of_the_validation_may_last_as_long_as_a_slow_core_takes_whatever_the_steps_took(plan: Plan) -> None:
    large = plan.model_copy(update={"parameters": 10**9, "validation_rows": 10**6})
    deadline = Deadline(large)
    deadline.took(0.001)
    assert deadline.slice_within_s == pytest.approx(TIMES_THE_LONGEST * 2 * 10**9 * SLICE_ROWS / SLOW_FLOPS)
    assert Deadline(plan).slice_within_s == STEP_WITHIN_S


def test_a_long_step_allows_longer_ones_for_a_while(plan: Plan) -> None:
    deadline = Deadline(plan)
    deadline.took(10.0)
    assert deadline.within_s == pytest.approx(TIMES_THE_LONGEST * 10.0)
    for _ in range(200):
        deadline.took(0.001)
    assert deadline.within_s == STEP_WITHIN_S
