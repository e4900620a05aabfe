"""What kind of CSV a file is: its delimiter, whether it has a header, and its columns' names."""

import codecs
import csv
import io
from dataclasses import dataclass
from pathlib import Path

from service.ingest.options import MAX_COLUMNS, ReadOptions, check_names
from shared.errors import InvalidInput

__all__ = ["MAX_ROW_BYTES", "Dialect", "dialect_of", "is_number"]

MAX_ROW_BYTES = 4 << 20  # a row longer than this is refused
DELIMITERS = (",", ";", "\t", "|")
SAMPLE_ROWS = 20


@dataclass(frozen=True)
class Dialect:
    """How the file is written, and the names of its columns: c0, c1, … where it has no header."""

    delimiter: str
    header: bool
    names: list[str]


def dialect_of(source: Path, options: ReadOptions) -> Dialect:
    """What the file's first rows say, or the user. Raises InvalidInput for what cannot be a CSV table."""
    _refuse_nul(source)
    text = _beginning(source)
    delimiter = _delimiter(options.delimiter, text)
    rows = _rows(text, delimiter)
    if not rows:
        raise InvalidInput.of("body", "no rows", "a table with a header and at least one row")
    first = [cell.strip() for cell in rows[0]]
    if len(first) > MAX_COLUMNS:
        raise InvalidInput.of("body", f"{len(first):,} columns", f"at most {MAX_COLUMNS:,} columns")
    header = options.header if options.header is not None else not all(map(is_number, first))
    for number, cell in enumerate(first, 1):
        if any("\udc80" <= character <= "\udcff" for character in cell):
            raw = cell.encode(errors="surrogateescape")
            raise InvalidInput.of(f"the first row, cell {number}", repr(raw), "text in UTF-8")
    names = first if header else [f"c{number}" for number in range(len(first))]
    check_names(names, options.types)
    return Dialect(delimiter, header, names)


def _refuse_nul(source: Path) -> None:
    """A NUL byte anywhere says that this is no text, or text in UTF-16."""
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            if b"\0" in block:
                before = file.tell() - len(block) + block.index(b"\0")
                raise InvalidInput.of(f"line {_line_at(source, before)}", "a NUL byte", "a CSV table in UTF-8")


def _line_at(source: Path, position: int) -> int:
    """The line in which the byte at that position is."""
    lines = 1
    with source.open("rb") as file:
        while block := file.read(min(1 << 20, position - file.tell())):
            lines += block.count(b"\n")
    return lines


def _beginning(source: Path) -> str:
    """The file's first rows as text, without a byte order mark; the last may be cut, and none is sure to be UTF-8."""
    with source.open("rb") as file:
        sample = file.read(MAX_ROW_BYTES)
    return sample.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows that are not empty."""
    found: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                found.append(row)
            if len(found) == SAMPLE_ROWS:
                break
    except csv.Error as error:
        if not found:
            raise InvalidInput.of("row 1 (line 1)", str(error), "a row of a CSV table") from None
    return found


def _delimiter(asked: str | None, text: str) -> str:
    if asked is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(asked, asked)
        if len(delimiter) != 1 or delimiter in '"\r\n\0' or not delimiter.isascii():
            raise InvalidInput.of("delimiter", asked, "a single ASCII character: , ; | or tab, for example")
        return delimiter
    return max(DELIMITERS, key=lambda delimiter: (_agreement(text, delimiter), -DELIMITERS.index(delimiter)))


def _agreement(text: str, delimiter: str) -> tuple[bool, int]:
    """How well a delimiter explains the first rows: all of one length, and how many cells they have."""
    try:
        rows = _rows(text, delimiter)
    except InvalidInput:
        return False, 0
    complete = rows if len(rows) < SAMPLE_ROWS else rows[:-1]
    widths = {len(row) for row in complete}
    cells = len(rows[0]) if rows else 0
    return len(widths) == 1 and cells > 1, cells


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
