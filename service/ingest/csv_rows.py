"""The rows of a CSV file, block after block in bounded memory, every mistake named by its row."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from service.ingest.csv_dialect import MAX_ROW_BYTES, Dialect
from shared.errors import InvalidInput

__all__ = ["Place", "blocks"]

# Arrow's own handler of such rows cannot be used: it fails where the row is not UTF-8.
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
MAX_ROWS_TO_FIND_A_LINE = 1_000_000


class Place:
    """Tells a user where in the file a row is. Rows count from 1, the header and empty lines not counted."""

    def __init__(self, source: Path, dialect: Dialect) -> None:
        self._source, self._dialect = source, dialect

    def of(self, row: int, column: str | None = None) -> str:
        """`row 17 (line 18), column 'age'`; without the line for rows so far down that finding it would take long."""
        line = self._line(row) if row <= MAX_ROWS_TO_FIND_A_LINE else None
        where = f"row {row}" if line is None else f"row {row} (line {line})"
        return where if column is None else f"{where}, column {column!r}"

    def _line(self, row: int) -> int | None:
        """The line on which a row begins."""
        wanted = row + self._dialect.header
        with self._source.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=self._dialect.delimiter)
            before = seen = 0
            try:
                for cells in reader:
                    seen += bool(cells)
                    if seen == wanted:
                        return before + 1
                    before = reader.line_num
            except csv.Error:  # a cell that Python's reader finds too long
                return None
        return None


def blocks(source: Path, dialect: Dialect, columns: Sequence[int] | None = None) -> Iterator[tuple[int, list[Any]]]:
    """The file's cells as strings: the number of the first row of each block, and an Arrow array for each column.

    `columns`: only these, by position. Raises InvalidInput for a row with too few or too many cells, one that is too
    long, a quote that never closes, and what is not UTF-8.
    """
    place = Place(source, dialect)
    names = [f"f{number}" for number in range(len(dialect.names))]
    wanted = list(range(len(names))) if columns is None else list(columns)

    first = 1 - dialect.header
    try:
        reader = pa.csv.open_csv(
            str(source),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=MAX_ROW_BYTES, autogenerate_column_names=True
            ),  # only without threads are rows numbered
            parse_options=pa.csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=[names[number] for number in wanted],
                check_utf8=False,
            ),
        )
        last = b""
        for batch in reader:
            cells = [
                _text(values, first, dialect.names[number], place)
                for number, values in zip(wanted, batch.columns, strict=True)
            ]
            if first < 1:
                cells = [values.slice(1) for values in cells]
            if batch.num_rows + first > 1:
                yield max(first, 1), cells
            first += batch.num_rows
            last = batch.column(batch.num_columns - 1)[-1].as_py() if batch.num_rows else last
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except pa.ArrowException as error:
        raise _refusal(str(error), first, place, dialect) from None
    if wanted[-1] == len(names) - 1 and _never_closed(source, dialect.delimiter, last):
        got = last.decode(errors="replace")
        raise InvalidInput.of(place.of(first - 1, dialect.names[-1]), got, "a closing quote after the cell")
    if first <= 1:
        raise InvalidInput.of("body", "a header alone", "a table with at least one row")


def _text(values: Any, first: int, name: str, place: Place) -> Any:
    """A block's cells as text. Raises InvalidInput for the first that is not UTF-8."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        for index, cell in enumerate(values.to_pylist()):
            try:
                cell.decode()
            except UnicodeDecodeError:
                raise InvalidInput.of(place.of(first + index, name), repr(cell), "text in UTF-8") from None
        raise


def _refusal(error: str, first: int, place: Place, dialect: Dialect) -> InvalidInput:
    """What Arrow's message means to a user."""
    if ragged := RAGGED.search(error):
        row, expected, got, text = ragged.groups()
        return InvalidInput.of(place.of(int(row) - dialect.header), f"{got} cells: {text}", f"{expected} cells")
    if "Empty CSV" in error:
        return InvalidInput.of("body", "a header alone", "a table with at least one row")
    if "straddling" in error:
        expected = f"a row of at most {MAX_ROW_BYTES >> 20} MiB; perhaps a quote is never closed"
        return InvalidInput.of(place.of(max(first, 1)), f"a row of more than {MAX_ROW_BYTES >> 20} MiB", expected)
    return InvalidInput.of("body", error, "a CSV table")


def _never_closed(source: Path, delimiter: str, last: bytes) -> bool:
    """Whether the file's last cell opens a quote that nothing closes: its parser takes the rest as the cell's text."""
    raw = last.replace(b'"', b'""')
    with source.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(raw) - 2))
        end = file.read()
    if not raw:
        return end.endswith((delimiter.encode() + b'"', b'\n"'))
    return end.endswith(b'"' + raw)
