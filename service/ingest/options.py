"""How a user asks for a file to be read, and the limits that hold for every format."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from shared.errors import FieldError, InvalidInput
from shared.spec import ColumnName
from shared.table import ColumnType

__all__ = ["MAX_CATEGORIES", "MAX_COLUMNS", "MAX_INFERRED_CATEGORIES", "ReadOptions", "check_expansion", "check_names"]

MAX_COLUMNS = 10_000  # read in 3 s; beyond, the time grows faster than the columns: 50,000 take 38 s
MAX_NAME = 200  # characters of a column's name
NAME: TypeAdapter[str] = TypeAdapter(ColumnName)  # a job's spec names columns
MAX_INFERRED_CATEGORIES = 1_000  # distinct values of a column that is a category without being asked for
MAX_CATEGORIES = 100_000
MAX_EXPANDED_BYTES = 2 << 30  # what a compressed file may unpack to

SMALL_BYTES = 64 << 20  # what any file may unpack to …
MAX_EXPANSION = 250  # … and beyond that, how many times its own size


@dataclass(frozen=True)
class ReadOptions:
    """What a user may say about a file where it cannot be told from the file itself, or is told wrongly."""

    header: bool | None = None
    """CSV: whether the first row holds the names; None to look."""
    delimiter: str | None = None
    """CSV: what stands between cells; None to look."""
    missing: list[str] = field(default_factory=list)
    """CSV: cells that are missing values besides the empty one, ?, NA, NaN and null."""
    types: dict[str, ColumnType] = field(default_factory=dict)
    """Types of columns by name, in place of what would be inferred."""

    def only_for_csv(self, kind: str) -> None:
        """Raises InvalidInput if something is asked for that a file of this kind says by itself."""
        asked = {"header": self.header, "delimiter": self.delimiter, "missing": self.missing or None}
        errors = [
            FieldError(name, value, f"nothing: it is for CSV only, and this is {kind}")
            for name, value in asked.items()
            if value is not None
        ]
        if errors:
            raise InvalidInput(errors)


def check_expansion(file_bytes: int, expanded_bytes: int, remedy: str = "") -> None:
    """Raises InvalidInput, with a remedy in words, for a file that unpacks to far more than it is; to be asked before
    it is unpacked, as far as it tells."""
    limit = min(MAX_EXPANDED_BYTES, max(SMALL_BYTES, MAX_EXPANSION * file_bytes))
    if expanded_bytes > limit:
        got = f"{expanded_bytes:,} bytes unpacked from {file_bytes:,}"
        raise InvalidInput.of("body", got, f"at most {limit:,} bytes unpacked{remedy}")


def check_names(names: Collection[str], types: Mapping[str, ColumnType]) -> None:
    """Raises InvalidInput unless the columns' names can be used: distinct, such as a job can name, and all
    that `types` names."""
    if not 1 <= len(names) <= MAX_COLUMNS:
        raise InvalidInput.of("body", f"{len(names):,} columns", f"1 to {MAX_COLUMNS:,} columns")
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        try:
            NAME.validate_python(name)
        except ValidationError:
            expected = f"a name of 1 to {MAX_NAME} characters, without NUL and lone surrogates"
            raise InvalidInput.of(f"column {number}", name, expected) from None
        if name in seen:
            raise InvalidInput.of(f"column {number}", name, "a name that no other column has")
        seen.add(name)
    for name in types:
        if name not in seen:
            raise InvalidInput.of(f"types.{name}", name, "a column of the file")
