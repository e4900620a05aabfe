"""Mean and standard deviation, whatever the chunks."""

import numpy as np
import pytest

from shared.moments import Moments


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_give_numpys_mean_and_deviation(chunk: int) -> None:
    values = np.random.default_rng(0).normal(1e6, [1.0, 1e-3], (1000, 2))
    moments = Moments(2)
    for start in range(0, len(values), chunk):
        moments.add(Moments.of(values[start : start + chunk]))
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.scale, values.std(axis=0), rtol=1e-6)


def test_missing_values_do_not_count() -> None:
    moments = Moments()
    moments.add(Moments.of(np.array([[np.nan], [1.0]])))
    moments.add(Moments.of(np.array([[np.nan], [np.nan]])))
    moments.add(Moments.of(np.array([[3.0]])))
    assert (moments.count[0], moments.mean[0], moments.scale[0]) == (2, 2.0, 1.0)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e100])
def test_a_constant_column_is_not_scaled(constant: float) -> None:
    moments = Moments()
    moments.add(Moments.of(np.full((99, 1), constant)))
    assert moments.scale[0] == 1.0


def test_numbers_too_large_show_as_not_finite() -> None:
    moments = Moments()
    moments.add(Moments.of(np.array([[1e308], [1e308], [-1e308]])))
    assert not np.isfinite(moments.scale[0])
