"""A Parquet file as a table: its own types mapped onto ours, row group after row group in bounded memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.ingest.guess import Guess
from service.ingest.options import ReadOptions, check_expansion, check_names
from service.ingest.writer import ARROW_TYPES, TableWriter
from shared.errors import InvalidInput
from shared.table import ColumnType

__all__ = ["write_parquet"]

BATCH_ROWS = 65_536
BATCH_BYTES = 16 << 20
TEXT_BYTES = 16  # a guess at a text's share of a row


@dataclass
class Source:
    """One column of the file and what becomes of it."""

    name: str
    arrow: Any
    kind: ColumnType
    guess: Guess | None = None  # of the values of a category or text

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's value when it is written."""
        if self.kind != "tensor":
            return TEXT_BYTES if self.kind == "text" else 8
        element, shape = tensor_of(self.arrow)
        return math.prod(shape) * max(int(element.bit_width) // 8, 1)


def write_parquet(source: Path, options: ReadOptions, writer: TableWriter) -> None:
    """Writes the file's rows. Raises InvalidInput naming the column, and the row where it can."""
    options.only_for_csv("Parquet")
    try:
        with pq.ParquetFile(source, memory_map=True, arrow_extensions_enabled=False) as file:  # type: ignore[call-arg]
            _write(file, source.stat().st_size, options, writer)
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except UnicodeDecodeError:
        raise InvalidInput.of("body", "names that are not UTF-8", "a whole Parquet file") from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the machine, not of the file
        raise InvalidInput.of("body", str(error), "a whole Parquet file") from None


def _write(file: pq.ParquetFile, size: int, options: ReadOptions, writer: TableWriter) -> None:
    metadata = file.metadata
    if not metadata.num_rows:
        raise InvalidInput.of("body", "no rows", "a table with at least one row")
    check_names(file.schema_arrow.names, options.types)
    sources = [_source(column, options.types.get(column.name)) for column in file.schema_arrow]
    row_bytes = sum(column.row_bytes for column in sources)
    unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    check_expansion(size, max(unpacked, metadata.num_rows * row_bytes))
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
    _gather(file, rows, sources)
    for column in sources:
        if column.kind == "tensor":
            element, shape = tensor_of(column.arrow)
            writer.add_tensor(column.name, element, shape, np.dtype(element.to_pandas_dtype()).name)
        else:
            writer.add_column(column.name, column.kind, column.guess.categories if column.guess else None)
    for batch in file.iter_batches(batch_size=rows):
        parts = zip(sources, batch.columns, strict=True)
        writer.write([_convert(column, values, writer.rows) for column, values in parts])
        # The groups' sizes have a text of a dictionary once, however many rows it stands in.
        check_expansion(size, writer.size_bytes, "; of texts that repeat, give types=COLUMN:category")


def _gather(file: pq.ParquetFile, rows: int, sources: list[Source]) -> None:
    """Looks at all texts to tell categories from texts."""
    guessed = [column for column in sources if column.guess is not None]
    names = [column.name for column in guessed]
    for batch in file.iter_batches(batch_size=rows, columns=names) if names else ():
        for column in guessed:
            assert column.guess is not None
            column.guess.gather(_strings(batch.column(batch.schema.get_field_index(column.name))))
    for column in guessed:
        assert column.guess is not None
        column.guess.decide()
        column.kind = column.guess.kind


# ---------------------------------------------------------------- types
KINDS: tuple[tuple[Callable[[Any], bool], ColumnType], ...] = (
    (pa.types.is_integer, "integer"),
    (pa.types.is_floating, "number"),
    (pa.types.is_decimal, "number"),
    (pa.types.is_null, "number"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "timestamp"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_string_view, "text"),
)
TAKES = "numbers, booleans, strings, timestamps, dates and fixed-size lists of numbers"


def _source(column: Any, asked: ColumnType | None) -> Source:
    """What a column becomes. Raises InvalidInput for a type that is not taken."""
    extension = (column.metadata or {}).get(b"ARROW:extension:name")
    if isinstance(column.type, pa.BaseExtensionType) or extension is not None:
        name = extension.decode(errors="replace") if extension else str(column.type)
        raise InvalidInput.of(f"column {column.name!r}", f"extension type {name}", TAKES)
    arrow = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_fixed_size_list(arrow):
        element, shape = tensor_of(arrow)
        numeric = pa.types.is_integer(element) or pa.types.is_floating(element) or pa.types.is_boolean(element)
        if numeric and all(shape):
            if asked not in (None, "tensor"):
                raise InvalidInput.of(f"types.{column.name}", asked, "tensor: the column holds fixed-size lists")
            return Source(column.name, arrow, "tensor")
    kind = next((kind for matches, kind in KINDS if matches(arrow)), None)
    if kind is None:
        raise InvalidInput.of(f"column {column.name!r}", f"type {column.type}", TAKES)
    if asked == "tensor":
        raise InvalidInput.of(f"types.{column.name}", asked, f"a type that {column.type} can be turned into")
    textual = asked in ("category", "text") or (asked is None and kind == "text")
    guess = Guess(column.name, asked, text=True) if textual else None
    return Source(column.name, column.type, asked or kind, guess)


def tensor_of(arrow: Any) -> tuple[Any, list[int]]:
    """Element type and shape of (nested) fixed-size lists."""
    shape = []
    while pa.types.is_fixed_size_list(arrow):
        shape.append(arrow.list_size)
        arrow = arrow.value_type
    return arrow, shape


# ---------------------------------------------------------------- values
def _convert(column: Source, values: Any, rows_before: int) -> Any:
    """A batch's values as they are written. Raises InvalidInput for those that cannot be."""
    if column.kind == "tensor":
        return _tensor(column, values, rows_before)
    if column.guess is not None:
        return column.guess.encode(_strings(values))
    try:
        return _number(column, values, rows_before) if column.kind == "number" else _scalar(column.kind, values)
    except pa.ArrowInvalid as error:
        raise InvalidInput.of(f"column {column.name!r}", str(error), f"values of type {column.kind}") from None


def _number(column: Source, values: Any, rows_before: int) -> Any:
    """NaN becomes missing. Raises InvalidInput for an infinite number."""
    numbers = _plain(values).cast(pa.float64(), safe=False)
    infinite: Any = pc.is_inf(numbers)
    if pc.any(infinite).as_py():
        index = infinite.index(True).as_py()
        expected = "a finite number; null or NaN where it is missing"
        raise InvalidInput.of(
            f"row {rows_before + index + 1}, column {column.name!r}", numbers[index].as_py(), expected
        )
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def _scalar(kind: ColumnType, values: Any) -> Any:
    """Times without a zone are in UTC."""
    values = _plain(values)
    if kind == "timestamp":
        return values.cast(ARROW_TYPES[kind], safe=False)
    return values.cast(ARROW_TYPES[kind])


def _strings(values: Any) -> Any:
    return _plain(values).cast(pa.large_string())


def _plain(values: Any) -> Any:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _tensor(column: Source, values: Any, rows_before: int) -> Any:
    """Lists flattened to one level. Raises InvalidInput for a row that is missing or holds what is not a number."""
    element = tensor_of(column.arrow)[0]
    flat = values
    while pa.types.is_fixed_size_list(flat.type):
        if flat.null_count:
            row = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0]) * len(values) // len(flat)
            raise _misfit(column, rows_before + row, "null")
        flat = flat.flatten()
    size = len(flat) // len(values)
    bad = flat.is_null()
    if pa.types.is_floating(element):
        bad = pc.or_(bad, pc.invert(pc.fill_null(pc.is_finite(flat), False)))
    if pc.any(bad).as_py():
        index = int(np.flatnonzero(bad.to_numpy(zero_copy_only=False))[0])
        raise _misfit(column, rows_before + index // size, str(flat[index].as_py()))
    return pa.FixedSizeListArray.from_arrays(flat, size)


def _misfit(column: Source, row: int, got: str) -> InvalidInput:
    return InvalidInput.of(
        f"row {row + 1}, column {column.name!r}", got, "finite numbers: a tensor has no missing ones"
    )
