"""Data sets: from an uploaded file to a typed, profiled table on disk, and a look into it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from service.ingest.csv_table import write_csv
from service.ingest.npz_table import write_npz
from service.ingest.options import ReadOptions
from service.ingest.parquet_table import write_parquet
from service.ingest.writer import TableWriter
from shared.errors import NotFound, UnsupportedMedia
from shared.table import Column, TableFile
from workers.disk import DISK, Disk

__all__ = ["MEDIA_TYPES", "ReadOptions", "ingest", "preview"]

PREVIEW_BYTES = 64 << 20  # of a preview's values and names, after which it shows no further row
NUMBER_BYTES = 20  # about as many as a number or a moment has in JSON

MEDIA_TYPES: dict[str, Callable[[Path, ReadOptions, TableWriter], None]] = {
    "text/csv": write_csv,
    "application/vnd.apache.parquet": write_parquet,
    "application/x-npz": write_npz,
}


def ingest(
    source: Path,
    media_type: str,
    options: ReadOptions,
    folder: Path,
    dataset_id: str,
    sha256: str,
    disk: Disk = DISK,
) -> TableFile:
    """Makes `folder`/table.arrow of the uploaded bytes in `source` (gzip undone), wholly or not at all.

    `media_type` is one of MEDIA_TYPES, without parameters. Memory is bounded whatever the size of the file. Raises
    UnsupportedMedia for another type; InvalidInput naming row, column and cell where the file is wrong; OSError.
    """
    write = MEDIA_TYPES.get(media_type)
    if write is None:
        raise UnsupportedMedia(f"got {media_type!r}, expected one of {', '.join(MEDIA_TYPES)}")
    target, partial = folder / "table.arrow", folder / ".table.arrow.partial"
    try:
        with TableWriter(partial, disk) as writer:
            write(source, options, writer)
        disk.publish(partial, target)
    finally:
        disk.remove(partial)
    return writer.table(target, dataset_id, sha256)


def preview(table: TableFile, rows: int) -> list[dict[str, Any]]:
    """The first rows as JSON values: null where missing, timestamps as RFC 3339, tensors as nested lists. At least one
    and at most `rows`, fewer where they are long: about PREVIEW_BYTES together.

    Raises NotFound when the file is gone or damaged.
    """
    try:
        head = _head(Path(table.path), rows)
    except FileNotFoundError:
        raise NotFound(f"the file of data set {table.dataset_id} is gone; upload it again") from None
    except (pa.ArrowException, OSError) as error:
        raise NotFound(f"the file of data set {table.dataset_id} is damaged ({error}); upload it again") from error
    head = head.slice(0, _fitting(head, table))
    columns = {column.name: _shown(column, head.column(column.name), table) for column in table.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _head(path: Path, rows: int) -> Any:
    """The first rows, read and not mapped: a mapped file that is cut off ends the process that looks at it."""
    batches: list[Any] = []
    with pa.OSFile(str(path), "rb") as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            batches.append(reader.get_batch(number))
            is_long = sum(batch.nbytes for batch in batches) > PREVIEW_BYTES
            if is_long or sum(batch.num_rows for batch in batches) >= rows:
                break
        return pa.Table.from_batches(batches, reader.schema).slice(0, rows)


def _fitting(head: Any, table: TableFile) -> int:
    """How many of the rows, at least one, a preview has room for."""
    lengths = np.zeros(head.num_rows, np.int64)
    for column in table.columns:
        lengths += len(column.name) + _length(column, head.column(column.name), table)
    return max(1, int(np.searchsorted(lengths.cumsum(), PREVIEW_BYTES, side="right")))


def _length(column: Column, values: Any, table: TableFile) -> int | npt.NDArray[np.int64]:
    """About how many bytes the values have in JSON: of all rows, or of each."""
    if column.type == "text":
        return np.asarray(pc.fill_null(pc.binary_length(values), 0))
    if column.type == "category":
        names = np.array([0, *map(len, table.categories[column.name])])  # the first: of what is missing
        return np.asarray(names[np.asarray(pc.fill_null(values, -1)) + 1])
    return NUMBER_BYTES * math.prod(column.shape or [1])


def _shown(column: Column, values: Any, table: TableFile) -> list[Any]:
    if column.type == "category":
        names = table.categories[column.name]
        return [None if code is None else names[code] for code in values.to_pylist()]
    if column.type == "timestamp":
        text = values.cast(pa.timestamp("us")).cast(pa.string()).to_pylist()
        return [None if moment is None else moment.replace(" ", "T").removesuffix(".000000") + "Z" for moment in text]
    if column.type == "tensor":
        shape = column.shape or []
        return [_nested(value, shape) for value in values.to_pylist()]
    shown: list[Any] = values.to_pylist()
    return shown


def _nested(elements: list[Any], shape: list[int]) -> list[Any]:
    """Elements in row-major order as nested lists."""
    for length in reversed(shape[1:]):
        elements = [elements[start : start + length] for start in range(0, len(elements), length)]
    return elements
