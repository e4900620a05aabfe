"""The benchmark of large matrices measures what it says, on a small one."""

from benchmarks.big_matrix import measure


def test_training_on_a_large_matrix_is_measured() -> None:
    figures = measure(4_000_000, columns=10, steps=2)
    assert figures["rows"] == 100_000
    assert figures["rows_per_s"] > 0
    assert 20 < figures["peak_private_megabytes"] < 500
