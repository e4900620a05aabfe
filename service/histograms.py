"""How the values of a data set's columns are spread: counted over its rows, in bounded time and memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.views import Histogram
from shared.evaluation import histogram
from shared.table import Column, TableFile
from workers.columns import as_numbers, open_table

__all__ = ["histograms"]

MOST_WINDOWS = 16
MOST_ROWS = 1_000_000
BARS = 30
MOST_VALUES = 50
COUNTED = frozenset({"number", "integer", "boolean", "category"})


def histograms(file: TableFile, columns: Sequence[Column]) -> list[Histogram]:
    """Those of the given columns, as far as they have one. Raises DataMissing, BadData."""
    wanted = [column for column in columns if column.type in COUNTED]
    parts = list(_parts(open_table(file).select([column.name for column in wanted])))
    rows = sum(part.num_rows for part in parts)
    return [_of_column(file, column, [part.column(column.name) for part in parts], rows) for column in wanted]


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """The whole table, or stretches of it, evenly spread; they are mapped, and read one column after the other."""
    if table.num_rows <= MOST_ROWS:
        yield table
        return
    length = MOST_ROWS // MOST_WINDOWS
    for start in np.linspace(0, table.num_rows - length, MOST_WINDOWS).astype(int).tolist():
        yield table.slice(start, length)


def _of_column(file: TableFile, column: Column, parts: Sequence[Any], rows: int) -> Histogram:
    if column.type in ("number", "integer"):
        values = np.concatenate([as_numbers(part) for part in parts]) if parts else np.empty(0)
        present = values[np.isfinite(values)]
        edges, counts = histogram(present, _bars(column)) if len(present) else (np.array([0.0, 1.0]), np.zeros(1, int))
        return Histogram(column=column.name, rows=rows, edges=edges.tolist(), counts=counts.tolist())
    names = ["false", "true"] if column.type == "boolean" else file.categories[column.name]
    counted = np.zeros(len(names), np.int64)
    for part in parts:
        codes = pc.cast(pc.drop_null(part), pa.int32()).to_numpy()
        counted += np.bincount(codes, minlength=len(names))
    order = np.argsort(-counted, kind="stable")[:MOST_VALUES]
    return Histogram(
        column=column.name,
        rows=rows,
        values=[names[index] for index in order],
        counts=counted[order].tolist(),
        others=int(counted.sum() - counted[order].sum()),
    )


def _bars(column: Column) -> int:
    """Whole numbers of a small range get a bar each."""
    whole = column.type == "integer" and isinstance(column.min, int) and isinstance(column.max, int)
    distinct = column.max - column.min + 1 if whole else BARS  # type: ignore[operator]
    return int(min(distinct, BARS))
