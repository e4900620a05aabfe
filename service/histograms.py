"""How the values of a data set's columns are spread: counted over its rows, in bounded time and memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
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
MOST_WITH_HALVES = 2.0**52  # beyond, there is no float between two whole numbers
NONE = np.array([0.0, 1.0]), np.zeros(1, np.int64)
COUNTED = frozenset({"number", "integer", "boolean", "category"})


def histograms(file: TableFile, columns: Sequence[Column], most_rows: int = MOST_ROWS) -> list[Histogram]:
    """Those of the given columns, as far as they have one, over `most_rows` at most. Raises DataMissing, BadData."""
    wanted = [column for column in columns if column.type in COUNTED]
    parts = list(_parts(open_table(file).select([column.name for column in wanted]), most_rows))
    rows = sum(part.num_rows for part in parts)
    return [_of_column(file, column, [part.column(column.name) for part in parts], rows) for column in wanted]


def _parts(table: pa.Table, most_rows: int) -> Iterator[pa.Table]:
    """The whole table, or stretches of it, evenly spread; they are mapped, and read one column after the other."""
    if table.num_rows <= most_rows:
        yield table
        return
    length = most_rows // MOST_WINDOWS
    for start in np.linspace(0, table.num_rows - length, MOST_WINDOWS).astype(int).tolist():
        yield table.slice(start, length)


def _of_column(file: TableFile, column: Column, parts: Sequence[Any], rows: int) -> Histogram:
    if column.type in ("number", "integer"):
        values = np.concatenate([as_numbers(part) for part in parts]) if parts else np.empty(0)
        present = values[np.isfinite(values)]
        edges, counts = histogram(present, _bars(present, column)) if len(present) else NONE
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


def _bars(values: npt.NDArray[np.float64], column: Column) -> int | npt.NDArray[np.float64]:
    """So many bars; of whole numbers their bounds, so that each bar stands for as many of them."""
    low, high = values.min(), values.max()
    if column.type != "integer" or max(-low, high) >= MOST_WITH_HALVES:
        return BARS
    width = np.ceil((high - low + 1) / BARS)
    return np.asarray(low - 0.5 + width * np.arange(np.ceil((high - low + 1) / width) + 1))
