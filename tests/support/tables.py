"""Data sets for tests: an Arrow file written straight from Python values, as ingest would leave it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

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
