"""What is trained: its size, its cost, and that the service takes it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.lecture import lecture_job
from benchmarks.prepared import prepared
from benchmarks.problem import WIDTHS, flop_per_sample, job, parameters
from shared.spec import JobSpec
from workers.data import PreparedData


def test_the_network_has_the_parameters_that_the_goals_name() -> None:
    assert parameters(WIDTHS) == 535_818


def test_a_step_takes_three_products_a_layer_but_two_for_the_first() -> None:
    # 2 → 3 → 1, by hand: 2 · 6 and 2 · 3 forward, as much for the weights, and 2 · 3 for the second layer's inputs
    assert flop_per_sample((2, 3, 1)) == 12 + 6 + 12 + 6 + 6
    assert flop_per_sample(WIDTHS) == 2_407_424


def test_the_jobs_are_valid_specs() -> None:
    spec = JobSpec.model_validate(job(65_536, 512, 9, shards=2))
    assert (spec.batch_size, spec.epochs, spec.shards, spec.dtype) == (512, 9, 2, "float32")
    lecture = JobSpec.model_validate(lecture_job(1_000))
    assert (lecture.batch_size, lecture.epochs, lecture.dtype) == (3, 1_000, "float64")


def test_data_are_prepared_as_a_job_prepares_them(tmp_path: Path) -> None:
    plan, folder = prepared(tmp_path, 64, job(64, 16, 2))
    assert (plan.parameters, plan.steps, plan.validation_rows) == (535_818, 8, 0)
    rows = PreparedData.load(folder).open_training(np.dtype(np.float32))
    x, y = rows.memory(64)
    rows.gather(np.arange(64), x, y)
    assert (len(rows), x.shape, y.shape) == (64, (64, 784), (64,))
    assert x.std() == pytest.approx(1, abs=0.01)
