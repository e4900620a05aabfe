"""What type a column of text cells has, as far as its rows have been seen."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from service.ingest.cells import EXPECTED, Cells, first_misfit
from service.ingest.csv_dialect import is_number
from service.ingest.csv_rows import Place
from service.ingest.options import MAX_CATEGORIES, MAX_INFERRED_CATEGORIES
from shared.errors import InvalidInput, shown
from shared.table import ColumnType

__all__ = ["Guess"]

FITS_TOO: dict[ColumnType, tuple[ColumnType, ...]] = {"integer": ("integer", "number")}  # else a type fits itself alone
MANY = 100  # values of a column from which on it is text where nearly all differ
NEARLY_ALL = 0.9
SAMPLE_CELLS = 64  # of a block that is no numbers alone: are most of them?


class Guess:
    """Begins with all that a column may be and strikes out what does not fit, block after block."""

    def __init__(self, name: str, asked: ColumnType | None, *, text: bool = False) -> None:
        """`asked`: the type that the user wants. `text`: the file says that the values are text, category or not."""
        self.name = name
        self.kind: ColumnType = asked or "number"
        self.categories: list[str] | None = None
        self.note: str | None = None
        """Which cell kept a column of numbers from being one."""
        self._asked = asked
        self._candidates: tuple[ColumnType, ...] = () if text else ("integer", "number", "boolean", "timestamp")
        if asked is not None:
            self._candidates = (asked,) if asked in EXPECTED else ()
        self._limit = MAX_INFERRED_CATEGORIES if asked is None else MAX_CATEGORIES
        self._values: set[str] | None = None if asked == "text" else set()  # None once they are too many
        self._present = 0  # cells that are not missing
        self._odd: tuple[int, str] | None = None  # the first cell among numbers that is none, and its row
        self.late = False
        """Found out to be none of the candidates only after rows that were: `gather` wants to see all rows again."""

    def look(self, cells: Cells, first: int, place: Place) -> None:
        """Takes in the next block, which begins with row `first` of the file.

        Raises InvalidInput for a cell that does not fit the type that was asked for.
        """
        before = self._present
        for kind in self._candidates:
            values = cells.read(kind, asked=self._asked is not None)
            if values is None and self._asked is not None:
                row, cell = first_misfit(cells.strings, kind)
                raise InvalidInput.of(place.of(first + row, self.name), cell, EXPECTED[kind])
            if values is not None:
                present = len(values) - values.null_count
                if present:  # a block of missing cells alone says nothing
                    fitting = FITS_TOO.get(kind, (kind,))
                    self._candidates = tuple(other for other in self._candidates if other in fitting)
                    self._present += present
                return
        if self._candidates:
            if "number" in self._candidates and (before or _mostly_numbers(cells.strings)):
                row, cell = first_misfit(cells.strings, "number")
                self._odd = first + row, cell
            self._candidates, self.late = (), before > 0
            self._present = 0
        if not self.late and self._values is not None:
            self.gather(cells.strings)

    def gather(self, strings: Any) -> None:
        """Collects the different texts of the next rows, as long as they are few."""
        if self._values is None:
            return
        self._present += len(strings) - strings.null_count
        self._values.update(strings.unique().drop_null().to_pylist())
        if len(self._values) > self._limit:
            self._values = None

    def decide(self) -> None:
        """Settles `kind` and `categories`. Raises InvalidInput for a category, asked for, of too many values."""
        if self._asked == "category" and self._values is None:
            expected = f"text, or a column of at most {MAX_CATEGORIES:,} different values"
            raise InvalidInput.of(f"types.{self.name}", "category", expected)
        if self._asked is None:
            self.kind = self._inferred()
        if self.kind == "category":
            self.categories = sorted(self._values or ())
        if self._odd is not None:
            row, cell = self._odd
            self.note = (
                f"read as {self.kind}: row {row} has {shown(cell)!r}; give types={self.name}:number to have it refused"
            )

    def _inferred(self) -> ColumnType:
        if self._candidates:  # a column without any value is a number as well as anything
            return self._candidates[0] if self._present else "number"
        many = self._values is None or (self._present > MANY and len(self._values) > NEARLY_ALL * self._present)
        return "text" if many else "category"

    def convert(self, cells: Cells) -> Any:
        """A block's values as an Arrow array of the type that was settled."""
        if self.kind in ("category", "text"):
            return self.encode(cells.strings)
        return cells.read(self.kind, asked=self._asked is not None)

    def encode(self, strings: Any) -> Any:
        """Texts as they are written: codes of categories, or the texts themselves."""
        if self.categories is None:
            return strings.cast(pa.large_string())
        return pc.index_in(strings, value_set=pa.array(self.categories, strings.type))


def _mostly_numbers(strings: Any) -> bool:
    """Whether more than half of the first cells are numbers."""
    sample = strings.slice(0, SAMPLE_CELLS).drop_null()
    return 2 * sum(is_number(cell) for cell in sample.to_pylist()) > len(sample)
