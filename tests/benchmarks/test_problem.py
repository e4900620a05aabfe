"""The network that is trained: its size and its cost."""

from benchmarks.problem import WIDTHS, flop_per_sample, job, parameters
from shared.spec import JobSpec


def test_the_network_has_the_parameters_that_the_goals_name() -> None:
    assert parameters(WIDTHS) == 535_818


def test_a_step_takes_three_products_a_layer_but_two_for_the_first() -> None:
    # 2 → 3 → 1, by hand: 2 · 6 and 2 · 3 forward, as much for the weights, and 2 · 3 for the second layer's inputs
    assert flop_per_sample((2, 3, 1)) == 12 + 6 + 12 + 6 + 6
    assert flop_per_sample(WIDTHS) == 2_407_424


def test_the_job_is_a_valid_spec() -> None:
    spec = JobSpec.model_validate(job(65_536, 512, 9, shards=2))
    assert (spec.batch_size, spec.epochs, spec.shards, spec.dtype) == (512, 9, 2, "float32")
