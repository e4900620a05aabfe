"""Rows of a CSV file as the JSON values that a model takes."""

import csv
import gzip
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from chainrule.errors import InvalidFile

__all__ = ["MISSING", "read_rows"]

MISSING = frozenset({"", "?", "NA", "NaN", "nan", "null", "NULL"})
"""Cells that mean: no value (as the service reads CSV)."""

csv.field_size_limit(16 * 1024 * 1024)  # a tensor in one cell is long


def read_rows(
    path: Path, features: Mapping[str, str], *, delimiter: str = ",", missing: Collection[str] = MISSING
) -> Iterator[dict[str, Any]]:
    """The rows of a CSV file (gzip'ed if it ends in .gz), only the columns in `features` (name → column type).

    Numbers become numbers, missing cells null, tensors are JSON arrays in one cell; other columns are left out.
    Raises InvalidFile naming line, column and cell.
    """
    try:
        with _open(path) as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, None)
            if header is None:
                raise InvalidFile(f"{path}: got an empty file, expected a header line with the names of the columns")
            columns = _columns(path, header, features)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InvalidFile(f"{path}, line {reader.line_num}: got {len(cells)} cells, expected {len(header)}")
                where = f"{path}, line {reader.line_num}"
                yield {name: _value(cells[at], kind, missing, f"{where}, column {name}") for name, kind, at in columns}
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidFile(f"{path}: cannot be read as CSV: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _columns(path: Path, header: Sequence[str], features: Mapping[str, str]) -> list[tuple[str, str, int]]:
    absent = [name for name in features if name not in header]
    if absent:
        raise InvalidFile(
            f"{path}: the column {', '.join(absent)} is missing; the model needs the columns {', '.join(features)}"
        )
    return [(name, kind, list(header).index(name)) for name, kind in features.items()]


def _value(cell: str, kind: str, missing: Collection[str], where: str) -> Any:
    text = cell.strip()
    if text in missing:
        return None
    if kind in ("number", "integer"):
        return _number(text, kind, where)
    if kind == "boolean":
        if text.lower() not in ("true", "false", "1", "0"):
            raise InvalidFile(f"{where}: got {text[:100]!r}, expected true or false")
        return text.lower() in ("true", "1")
    if kind == "tensor":
        return _array(text, where)
    return text


def _number(text: str, kind: str, where: str) -> int | float:
    number = math.nan
    if text.isascii() and "_" not in text:  # Python reads 1_000 and other alphabets' digits; the service does not
        with suppress(ValueError):
            if kind == "integer":
                return int(text)
        with suppress(ValueError):
            number = float(text)
    if not math.isfinite(number):
        raise InvalidFile(f"{where}: got {text[:100]!r}, expected {'an integer' if kind == 'integer' else 'a number'}")
    return int(number) if kind == "integer" and number.is_integer() else number


def _array(text: str, where: str) -> list[Any]:
    try:
        array = json.loads(text)
    except ValueError:
        array = None
    if not isinstance(array, list):
        raise InvalidFile(f"{where}: got {text[:100]!r}, expected a JSON array of numbers")
    return array
