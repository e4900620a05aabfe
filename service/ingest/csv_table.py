"""A CSV file as a table: one pass over all rows to find the types, one to convert and write."""

from pathlib import Path

from service.ingest.cells import Cells
from service.ingest.csv_dialect import Dialect, dialect_of
from service.ingest.csv_quotes import check_quotes
from service.ingest.csv_rows import Place, blocks
from service.ingest.guess import Guess
from service.ingest.options import ReadOptions
from service.ingest.writer import TableWriter
from shared.errors import InvalidInput

__all__ = ["write_csv"]


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
    for _, cells in blocks(source, dialect):
        parts = zip(guesses, cells, strict=True)
        writer.write([guess.convert(Cells(raw, options.missing)) for guess, raw in parts])


def _guess(source: Path, dialect: Dialect, options: ReadOptions) -> list[Guess]:
    """Looks at every row, not just the first ones; a second time at columns that turned out mixed on the way."""
    guesses = [Guess(name, options.types.get(name)) for name in dialect.names]
    place = Place(source, dialect)
    for first, cells in blocks(source, dialect):
        for guess, raw in zip(guesses, cells, strict=True):
            guess.look(Cells(raw, options.missing), first, place)
    late = [number for number, guess in enumerate(guesses) if guess.late]
    if late:
        for _, cells in blocks(source, dialect, late):
            for number, raw in zip(late, cells, strict=True):
                guesses[number].gather(Cells(raw, options.missing).strings)
    return guesses
