"""The quotes of a CSV file: nothing may follow the one that closes a cell, which Arrow's reader does not mind.

Almost every file is found good by looking at the quotes alone, all of a block at once. Where one stands at an unusual
place, it may still be good: a quote within a cell that has none at its beginning is text. Then every row is looked at.
"""

import codecs
import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.ingest.csv_dialect import MAX_ROW_BYTES, Dialect
from service.ingest.csv_rows import Place
from shared.errors import InvalidInput

__all__ = ["check_quotes"]

QUOTE = ord('"')
BLOCK_BYTES = 1 << 20
RELEASE_BYTES = 1 << 26
WINDOW_BYTES = 1 << 17  # what a pattern is held against at once: nothing else runs meanwhile

Bytes = npt.NDArray[np.uint8]


def check_quotes(source: Path, dialect: Dialect) -> None:
    """Raises InvalidInput, naming row and column, for text between a closing quote and the next delimiter."""
    with source.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    content: Bytes = np.frombuffer(mapped, np.uint8)
    start = len(codecs.BOM_UTF8) if content[:3].tobytes() == codecs.BOM_UTF8 else 0

    def done_with(end: int) -> None:
        """Lets go of pages that were looked at: else the whole file would count as this process's memory."""
        mapped.madvise(mmap.MADV_DONTNEED, 0, end // mmap.PAGESIZE * mmap.PAGESIZE)

    if not _are_usual(content[start:], dialect.delimiter, done_with):
        _check_rows(content[start:].data, dialect, Place(source, dialect))


def _are_usual(content: Bytes, delimiter: str, done_with: Callable[[int], None]) -> bool:
    """Whether quotes open and close cells by turns: each beside a delimiter, an end of line, or the next quote, of two
    that stand for one."""
    fits = np.zeros(256, np.bool_)
    fits[[QUOTE, ord(delimiter), ord("\r"), ord("\n")]] = True
    is_open = 0
    for first in range(0, len(content), BLOCK_BYTES):
        quotes = first + np.flatnonzero(content[first : first + BLOCK_BYTES] == QUOTE)
        opening, closing = quotes[is_open::2], quotes[1 - is_open :: 2]
        is_open ^= len(quotes) & 1
        before, after = opening[opening > 0] - 1, closing[closing + 1 < len(content)] + 1
        if not (fits[content[before]].all() and fits[content[after]].all()):
            return False
        if first % RELEASE_BYTES == 0 and first:
            done_with(first)
    return True


# ---------------------------------------------------------------- row by row
class _Grammar(NamedTuple):
    """What cells and rows look like; possessive, so that each byte is looked at once. What has alternatives repeats in
    an atomic group, as before Python 3.11.5 a possessive repetition of it took what did not match (CPython 106052)."""

    rows: re.Pattern[bytes]
    """As many as there are, with the ends of their lines."""
    row: re.Pattern[bytes]
    """With the end of its line, or of the file."""
    cell: re.Pattern[bytes]
    """With the delimiter after it."""
    stray: re.Pattern[bytes]
    """A quoted cell, and what follows its closing quote."""

    @classmethod
    def of(cls, delimiter: str) -> "_Grammar":
        comma = re.escape(delimiter.encode())
        spaces = b" *+" if delimiter != " " else b""  # they do not count
        quoted = rb'"[^"]*+(?:""[^"]*+)*+"'
        cell = rb'(?:%b%b(?=%b|[\r\n]|\Z)|(?!")[^%b\r\n]*+)' % (quoted, spaces, comma, comma)
        cells = rb"(?>%b(?:%b%b)*)" % (cell, comma, cell)
        patterns = (
            rb"(?>(?:%b(?:\r\n|[\r\n]))*)" % cells,
            rb"%b(?:\r\n|[\r\n]|\Z)" % cells,
            cell + comma,
            rb"%b[^%b\r\n]*+" % (quoted, comma),
        )
        return cls(*map(re.compile, patterns))


def _check_rows(content: memoryview, dialect: Dialect, place: Place) -> None:
    """Raises InvalidInput for the first cell with text after its closing quote. A row that is too long, or whose quote
    never closes, is for others to tell."""
    grammar = _Grammar.of(dialect.delimiter)
    position, size = 0, len(content)
    while position < size:
        good = _end_of(grammar.rows, content, position, min(size, position + WINDOW_BYTES))
        if good == position:  # a long row, the last one, or a bad one
            end = min(size, position + MAX_ROW_BYTES)
            good = _end_of(grammar.row, content, position, end)
            if good == position:
                break
            if good == end:
                return
        position = good
    else:
        return
    rows, number = _count_rows(grammar.row, content[:position]), 0
    while (after := _end_of(grammar.cell, content, position, end)) > position:
        number, position = number + 1, after
    after = _end_of(grammar.stray, content, position, end)
    if after > position:
        where = _where(rows + 1 - dialect.header, number, dialect, place)
        expected = "nothing after the quote that closes the cell; within it a quote is written twice"
        raise InvalidInput.of(where, bytes(content[position:after]).decode(errors="replace"), expected)


def _end_of(pattern: re.Pattern[bytes], content: memoryview, position: int, end: int) -> int:
    """Where a match that begins at `position` ends; `position` itself if there is none."""
    found = pattern.match(content, position, end)
    return position if found is None else found.end()


def _count_rows(row: re.Pattern[bytes], content: memoryview) -> int:
    """How many rows there are that are not empty."""
    return sum(bool(found.group().strip(b"\r\n")) for found in row.finditer(content))


def _where(row: int, number: int, dialect: Dialect, place: Place) -> str:
    if row == 0:
        return f"the first row, cell {number + 1}"
    return place.of(row, dialect.names[number] if number < len(dialect.names) else None)
