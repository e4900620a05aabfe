"""The tables that jobs are measured on have the rows that are told, and are read as what they are meant to be."""

from pathlib import Path

import pytest

from benchmarks.job_memory import BLOCK_ROWS, TABLES, Table
from service.datasets import ReadOptions, ingest

ROWS = BLOCK_ROWS + 17
KINDS = ({"category"}, {"tensor"}, {"integer"})


@pytest.mark.parametrize(("table", "kinds"), list(zip(TABLES, KINDS, strict=True)))
def test_a_table_of_so_many_rows_is_written(table: Table, kinds: set[str], tmp_path: Path) -> None:
    source = table.write(tmp_path, ROWS)
    (tmp_path / "ds").mkdir()
    media_type = "text/csv" if source.suffix == ".csv" else "application/x-npz"
    read = ingest(source, media_type, ReadOptions(), tmp_path / "ds", "ds_test", "0" * 64)
    assert read.rows == ROWS
    assert {column.type for column in read.columns if column.name != "y"} == kinds
