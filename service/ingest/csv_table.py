"""A CSV file as a table: one pass over all rows to find the types, one to convert and write."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from service.ingest.cells import Cells
from service.ingest.csv_dialect import Dialect, dialect_of
from service.ingest.csv_quotes import check_quotes
from service.ingest.csv_rows import Place, blocks
from service.ingest.guess import Guess
from service.ingest.options import ReadOptions
from service.ingest.writer import TableWriter
from shared.errors import InvalidInput

__all__ = ["write_csv"]

Made = TypeVar("Made")
MAX_THREADS = 4  # one that parses, and as many as keep up with it
MANY_COLUMNS = 64  # a block of more has so few rows that handing a column to a thread costs more than it saves


def write_csv(source: Path, options: ReadOptions, writer: TableWriter) -> None:
    """Writes the file's rows. Raises InvalidInput, naming row, column and cell where there is one to name."""
    dialect = dialect_of(source, options)
    check_quotes(source, dialect)
    for name, kind in options.types.items():
        if kind == "tensor":
            raise InvalidInput.of(f"types.{name}", kind, "a type that a CSV cell can have")
    guesses = _guess(source, dialect, options)
    for guess in guesses:
        guess.decide()
        writer.add_column(guess.name, guess.kind, guess.categories, guess.note)

    def convert(first: int, column: int, cells: Cells) -> Any:
        return guesses[column].convert(cells)

    for arrays in _pass(source, dialect, options, range(len(guesses)), convert):
        writer.write(arrays)


def _guess(source: Path, dialect: Dialect, options: ReadOptions) -> list[Guess]:
    """Looks at every row, not just the first ones; a second time at columns that turned out mixed on the way."""
    guesses = [Guess(name, options.types.get(name)) for name in dialect.names]
    place = Place(source, dialect)

    def look(first: int, column: int, cells: Cells) -> None:
        guesses[column].look(cells, first, place)

    def gather(first: int, column: int, cells: Cells) -> None:
        guesses[column].gather(cells.strings)

    for _ in _pass(source, dialect, options, range(len(guesses)), look):
        pass
    late = [column for column, guess in enumerate(guesses) if guess.late]
    if late:
        for _ in _pass(source, dialect, options, late, gather):
            pass
    return guesses


def _pass(
    source: Path,
    dialect: Dialect,
    options: ReadOptions,
    columns: Sequence[int],
    work: Callable[[int, int, Cells], Made],
) -> Iterator[list[Made]]:
    """What `work(number of the first row, column, its cells)` makes of each of `columns`, block after block.

    The columns are worked on side by side, and meanwhile the next block is parsed.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as threads:
        each = threads.map if len(columns) <= MANY_COLUMNS else map
        parsed = blocks(source, dialect, columns)
        coming = threads.submit(next, parsed, None)
        while (block := coming.result()) is not None:
            coming = threads.submit(next, parsed, None)
            first, raw = block
            cells = [Cells(values, options.missing) for values in raw]
            yield list(each(partial(work, first), columns, cells))
