"""The benchmark of ingest measures what it says, on a small file."""

from benchmarks.ingest import measure


def test_ingest_is_measured_on_a_file_of_mixed_columns() -> None:
    figures = measure(2_000_000)
    assert figures["megabytes"] >= 2
    assert {*figures["types"]} == {"integer", "number", "category", "boolean", "timestamp", "text"}
    assert figures["megabytes_per_s"] > 0
    assert figures["peak_rss_megabytes"] > 50
