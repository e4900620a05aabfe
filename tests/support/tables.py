"""Data sets for tests: written straight from Python values as ingest would leave them, or uploaded as bytes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.datasets import ReadOptions, ingest
from shared.errors import FieldError, InvalidInput
from shared.table import Column, ColumnType, TableFile

ARROW_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.large_string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def write_table(path: Path, columns: dict[str, tuple[ColumnType, Any]], batch_rows: int = 1_000) -> TableFile:
    """A data set of `name: (type, values)`; None is missing, a tensor's values are one numpy array."""
    arrays: dict[str, pa.Array] = {}
    told, categories = [], {}
    for name, (kind, values) in columns.items():
        shape = dtype = None
        if kind == "tensor":
            array = np.asarray(values)
            shape, dtype = list(array.shape[1:]), array.dtype.name
            flat = pa.array(array.reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape)))
        elif kind == "category":
            categories[name] = sorted({value for value in values if value is not None})
            codes = [None if value is None else categories[name].index(value) for value in values]
            arrays[name] = pa.array(codes, pa.int32())
        else:
            arrays[name] = pa.array(values, ARROW_TYPES[kind])
        told.append(Column(name=name, type=kind, missing=arrays[name].null_count, shape=shape, dtype=dtype))
    table = pa.table(arrays)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return TableFile(
        dataset_id=f"ds_{path.stem}",
        path=str(path),
        rows=table.num_rows,
        sha256=path.stem,
        columns=told,
        categories=categories,
    )


def ingest_bytes(content: bytes | str, folder: Path, media_type: str = "text/csv", **options: Any) -> TableFile:
    """Uploads `content`; asserts that nothing but the table is left in the folder, and nothing at all on an error."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source = folder.with_suffix(".upload")
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        table = ingest(source, media_type, ReadOptions(**options), folder, "ds_test", "0" * 64)
    except InvalidInput:
        assert list(folder.iterdir()) == []
        raise
    assert [path.name for path in folder.iterdir()] == ["table.arrow"]
    return table


def refusal(content: bytes | str, folder: Path, media_type: str = "text/csv", **options: Any) -> FieldError:
    """The first mistake for which `content` is refused."""
    with pytest.raises(InvalidInput) as refused:
        ingest_bytes(content, folder, media_type, **options)
    return refused.value.errors[0]
