"""How fast a table becomes the matrices that workers map: python -m benchmarks.prepare."""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shared.spec import JobSpec
from shared.table import Column, TableFile
from workers.data import prepare
from workers.planning import plan

__all__ = ["TABLES", "measure"]

BATCH_ROWS = 40_000

Named = list[tuple[Column, Any]]


def measure(kind: str, rows: int, threads: int, folder: Path | None = None) -> dict[str, Any]:
    """Prepares a table of that kind, one of TABLES: rows/s from the Arrow file to the matrices, flushed to disk."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        table = _write(Path(scratch) / "table.arrow", TABLES[kind](np.random.default_rng(0), rows))
        planned = plan(JobSpec.model_validate({"dataset": "d", "target": "y", "task": "regression"}), table, None)
        load_before, began = os.getloadavg()[0], time.perf_counter()
        prepare(planned, table, None, Path(scratch) / "prepared", threads=threads)
        seconds = time.perf_counter() - began
        written = (Path(scratch) / "prepared" / "training_x.npy").stat().st_size
    return {
        "load_before": round(load_before, 2),
        "table": kind,
        "rows": rows,
        "threads": threads,
        "inputs": planned.inputs,
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows / seconds),
        "written_megabytes": round(written / 1e6),
    }


def _adult(random: np.random.Generator, rows: int) -> Named:
    """Six integers and eight categories of 2 to 42 values, one cell in fifty missing."""
    columns: Named = []
    for number in range(6):
        values = pa.array(random.integers(0, 1000, rows), mask=random.random(rows) < 0.02)
        columns.append((Column(name=f"n{number}", type="integer", missing=values.null_count), values))
    for number, size in enumerate((9, 16, 7, 15, 6, 5, 2, 42)):
        codes = pa.array(random.integers(0, size, rows).astype(np.int32), mask=random.random(rows) < 0.02)
        columns.append((Column(name=f"c{number}", type="category", distinct=size, missing=codes.null_count), codes))
    return columns


def _numbers(random: np.random.Generator, rows: int) -> Named:
    """Fifty numbers."""
    return [(Column(name=f"n{number}", type="number"), pa.array(random.normal(size=rows))) for number in range(50)]


def _images(dtype: type[np.generic]) -> Callable[[np.random.Generator, int], Named]:
    """Images of 28 × 28 elements."""

    def make(random: np.random.Generator, rows: int) -> Named:
        flat = pa.array(random.integers(0, 256, rows * 784, np.uint8).astype(dtype))
        column = Column(name="image", type="tensor", shape=[28, 28], dtype=np.dtype(dtype).name)
        return [(column, pa.FixedSizeListArray.from_arrays(flat, 784))]

    return make


TABLES: dict[str, Callable[[np.random.Generator, int], Named]] = {
    "adult": _adult,
    "numbers": _numbers,
    "images of bytes": _images(np.uint8),
    "images of floats": _images(np.float32),
}


def _write(path: Path, columns: Named) -> TableFile:
    """The file that ingest would leave, with a number to learn."""
    rows = len(columns[0][1])
    columns = [*columns, (Column(name="y", type="number"), pa.array(np.arange(rows) / rows))]
    table = pa.table({column.name: values for column, values in columns})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    names = [column for column, _ in columns]
    categories = {
        column.name: [f"value {number:02}" for number in range(column.distinct or 0)]
        for column in names
        if column.type == "category"
    }
    return TableFile(
        dataset_id="ds_benchmark", path=str(path), rows=rows, sha256="0" * 64, columns=names, categories=categories
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the tables; images are a tenth of that")
    asked = parser.parse_args()
    for name in TABLES:
        for count in (1, 2):
            print(json.dumps(measure(name, asked.rows // 10 if name.startswith("images") else asked.rows, count)))
