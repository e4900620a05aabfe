"""From the text of cells to values: what counts as missing, and what as a number, a boolean or a timestamp."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.table import ColumnType

__all__ = ["MISSING", "Cells", "first_misfit"]

MISSING = ("", "?", "NA", "NaN", "nan", "null", "NULL")
ZONE = r"\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"
FEW = 32
UTC = pa.timestamp("us", tz="UTC")
EXPECTED: dict[ColumnType, str] = {
    "number": "a finite number",
    "integer": "an integer of at most 64 bits",
    "boolean": "true or false",
    "timestamp": "a date and time such as 2026-11-23 or 2026-11-23T12:00:00Z",
}


class Cells:
    """A column's cells in one block. Spaces around a cell do not count; what stands for missing is null."""

    def __init__(self, raw: Any, missing: Sequence[str]) -> None:
        self._raw = raw
        self._tokens = pa.array([*MISSING, *missing], pa.string())
        self._only_default = not missing
        self._present: Any = None

    @property
    def strings(self) -> Any:
        """The trimmed text, null where missing."""
        if self._present is None:
            trimmed: Any = pc.ascii_trim_whitespace(self._raw)
            is_missing: Any = pc.is_in(trimmed, value_set=self._tokens)
            self._present = pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)
        return self._present

    def read(self, kind: ColumnType, *, asked: bool = False) -> Any:
        """The values as `kind`, or None if some cell does not fit. `asked`: 0 and 1 are booleans too."""
        if kind in ("integer", "number") and self._only_default and self._present is None:
            plain = _cast(self._raw, pa.int64() if kind == "integer" else pa.float64())
            if plain is not None and (kind == "integer" or pc.all(pc.is_finite(plain)).as_py()):
                return plain  # no cell is missing or has spaces: the common case, and much the fastest
        return READERS[kind](self.strings, asked)


def _cast(strings: Any, kind: Any) -> Any:
    """Arrow's cast, or None. A few cells go first: a cast that fails takes long, as it goes on after a misfit."""
    try:
        if len(strings) > FEW:
            strings.slice(0, FEW).cast(kind)
        return strings.cast(kind)
    except pa.ArrowInvalid:
        return None


def _number(strings: Any, asked: bool) -> Any:
    values = _cast(strings, pa.float64())
    return values if values is not None and pc.all(pc.is_finite(values), min_count=0).as_py() else None


def _boolean(strings: Any, asked: bool) -> Any:
    known = ["true", "false", "1", "0"] if asked else ["true", "false"]
    lower: Any = pc.ascii_lower(strings)
    if not pc.all(pc.is_in(lower.drop_null(), value_set=pa.array(known)), min_count=0).as_py():
        return None
    return _cast(lower, pa.bool_())


def _timestamp(strings: Any, asked: bool) -> Any:
    """ISO 8601; a cell without a zone offset is in UTC."""
    for kind in (pa.timestamp("us"), UTC):
        alike = _cast(strings, kind)
        if alike is not None:
            return alike.cast(UTC)  # no cell has an offset, or all have one: the common cases
    has_zone: Any = pc.match_substring_regex(strings, ZONE)
    nothing = pa.scalar(None, pa.string())
    plain = _cast(pc.if_else(has_zone, nothing, strings), pa.timestamp("us"))
    zoned = _cast(pc.if_else(has_zone, strings, nothing), UTC)
    return None if plain is None or zoned is None else pc.coalesce(plain.cast(UTC), zoned)


READERS: dict[ColumnType, Callable[[Any, bool], Any]] = {
    "integer": lambda strings, asked: _cast(strings, pa.int64()),
    "number": _number,
    "boolean": _boolean,
    "timestamp": _timestamp,
}


def first_misfit(cells: Any, kind: ColumnType) -> tuple[int, str]:
    """Where, among text cells of which some do not fit `kind`, the first of them is, and what it says."""
    low, high = 0, len(cells)  # the first misfit is in cells[low:high]
    while high - low > 1:
        middle = (low + high) // 2
        if READERS[kind](cells.slice(low, middle - low), True) is None:
            high = middle
        else:
            low = middle
    return low, cells[low].as_py()
