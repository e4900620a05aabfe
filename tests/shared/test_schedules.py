"""The learning rate at points worked by hand."""

import math

import pytest

from shared.schedules import learning_rate_at
from shared.spec import ConstantSchedule, CosineSchedule, ExponentialSchedule, Schedule, StepSchedule


def rates(schedule: Schedule, at: list[int], *, steps_per_epoch: int = 10, steps: int = 100) -> list[float]:
    return [learning_rate_at(schedule, 0.8, step, steps_per_epoch, steps) for step in at]


def test_a_constant_schedule_never_changes() -> None:
    assert rates(ConstantSchedule(type="constant"), [0, 1, 99]) == [0.8, 0.8, 0.8]


def test_a_step_schedule_drops_every_so_many_epochs() -> None:
    schedule = StepSchedule(type="step", every_epochs=3, factor=0.5)
    assert rates(schedule, [0, 29, 30, 59, 60, 99]) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]


def test_an_exponential_schedule_decays_every_epoch() -> None:
    schedule = ExponentialSchedule(type="exponential", decay=0.9)
    assert rates(schedule, [0, 9, 10, 25, 99]) == pytest.approx([0.8, 0.8, 0.72, 0.648, 0.8 * 0.9**9], rel=1e-15)


def test_a_cosine_schedule_falls_from_the_first_step_to_the_last() -> None:
    schedule = CosineSchedule(type="cosine", final_fraction=0.25)
    assert rates(schedule, [0, 25, 50, 100], steps=101) == pytest.approx(
        [0.8, 0.8 * (0.25 + 0.75 * (1 + math.sqrt(0.5)) / 2), 0.8 * 0.625, 0.2], rel=1e-14
    )


def test_a_warm_up_rises_in_a_line_from_its_first_step_and_hands_over_at_the_top() -> None:
    schedule = CosineSchedule(type="cosine", warmup_steps=20)
    assert rates(schedule, [0, 4, 9, 18, 19, 20, 60, 100], steps=101) == pytest.approx(
        [0.04, 0.2, 0.4, 0.76, 0.8, 0.8, 0.4, 0], abs=1e-15
    )


def test_a_warm_up_of_one_step_only_puts_the_fall_off_by_that_step() -> None:
    with_one, without = (CosineSchedule(type="cosine", warmup_steps=steps) for steps in (1, 0))
    assert rates(with_one, [0, 1, 6, 11], steps=12) == pytest.approx([0.8, 0.8, 0.4, 0], abs=1e-15)
    assert rates(without, [0, 5, 10], steps=11) == pytest.approx([0.8, 0.4, 0], abs=1e-15)


def test_a_job_that_ends_within_its_warm_up_never_falls() -> None:
    schedule = CosineSchedule(type="cosine", warmup_steps=4)
    assert rates(schedule, [0, 1, 2], steps=3) == pytest.approx([0.2, 0.4, 0.6])
    assert rates(schedule, [3, 4], steps=5) == pytest.approx([0.8, 0.8])


def test_a_cosine_job_of_one_step_takes_a_whole_step() -> None:
    assert rates(CosineSchedule(type="cosine"), [0], steps=1) == [0.8]
