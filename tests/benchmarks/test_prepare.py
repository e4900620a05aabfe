"""The benchmark of preparing measures what it says, on small tables."""

import pytest

from benchmarks.prepare import TABLES, measure


@pytest.mark.parametrize("kind", TABLES)
def test_preparing_is_measured_on_each_kind_of_table(kind: str) -> None:
    figures = measure(kind, 200, threads=2)
    assert (figures["rows"], figures["inputs"]) == (200, {"adult": 116, "numbers": 50}.get(kind, 784))
    assert figures["rows_per_s"] > 0
