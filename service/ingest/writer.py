"""Writing a table: one uncompressed Arrow file of typed columns, and its profile."""

from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from service.ingest.profile import ColumnProfile
from shared.table import ColumnType, TableFile
from workers.disk import DISK, Disk

__all__ = ["ARROW_TYPES", "TableWriter"]

ARROW_TYPES: dict[ColumnType, Any] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": pa.int32(),
    "text": pa.large_string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


BATCH_BYTES = 16 << 20  # that are written together, so that who looks at the first rows need not read long texts of all


class TableWriter:
    """Takes columns' arrays batch after batch. Nothing is kept in memory but the profile."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self._path, self._disk = path, disk
        self._profiles: list[ColumnProfile] = []
        self._fields: list[Any] = []
        self._categories: dict[str, list[str]] = {}
        self._notes: dict[str, str] = {}
        self._writer: Any = None
        self._sink: Any = None
        self.rows = 0
        self.size_bytes = 0
        """Of the values written so far."""

    def add_column(
        self, name: str, kind: ColumnType, categories: list[str] | None = None, note: str | None = None
    ) -> None:
        """Declares the next column; those of a category are codes into `categories`. `note` goes with the profile."""
        self._profiles.append(ColumnProfile(name, kind, categories=categories))
        self._fields.append(pa.field(name, ARROW_TYPES[kind]))
        if categories is not None:
            self._categories[name] = categories
        if note is not None:
            self._notes[name] = note

    def add_tensor(self, name: str, element: Any, shape: list[int], dtype: str) -> None:
        """Declares the next column as a tensor of Arrow elements `element`, numpy's `dtype`."""
        size = 1
        for length in shape:
            size *= length
        self._profiles.append(ColumnProfile(name, "tensor", shape=shape, dtype=dtype))
        self._fields.append(pa.field(name, pa.list_(element, size)))

    def write(self, arrays: list[Any]) -> None:
        """Writes the next rows: one array for each column, of its declared type. Raises OSError."""
        schema = pa.schema(self._fields)
        if self._writer is None:
            self._sink = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_file(self._sink, schema)
        for profile, values in zip(self._profiles, arrays, strict=True):
            profile.add(values)
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        self._disk.check_room(self._path.parent, batch.nbytes)
        rows = max(1, batch.num_rows * BATCH_BYTES // max(batch.nbytes, BATCH_BYTES))
        for start in range(0, batch.num_rows, rows):
            self._writer.write_batch(batch.slice(start, rows))
        self.rows += batch.num_rows
        self.size_bytes += batch.nbytes

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for resource in (self._writer, self._sink):
            if resource is not None:
                resource.close()

    def table(self, path: Path, dataset_id: str, sha256: str) -> TableFile:
        """What was written, once it lies at `path`."""
        return TableFile(
            dataset_id=dataset_id,
            path=str(path),
            rows=self.rows,
            sha256=sha256,
            columns=[
                column.model_copy(update={"note": self._notes.get(column.name)})
                for column in (profile.column() for profile in self._profiles)
            ],
            categories=self._categories,
        )
