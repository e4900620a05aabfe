"""The profile of a column, gathered batch after batch while its table is written."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.table import Column, ColumnType

__all__ = ["ColumnProfile"]

MOST_COMMON = 5
MAX_DISTINCT_TEXTS = 100_000  # beyond that, the different values of a text column are not counted


class ColumnProfile:
    """Counts what there is to tell of one column; `add` takes arrays of the column's own Arrow type."""

    def __init__(
        self,
        name: str,
        kind: ColumnType,
        *,
        categories: list[str] | None = None,
        shape: list[int] | None = None,
        dtype: str | None = None,
    ) -> None:
        self._name, self._kind, self._shape, self._dtype = name, kind, shape, dtype
        self._categories = categories or []
        self._counts = np.zeros(len(self._categories), np.int64)
        self._texts: set[str] | None = set()
        self._missing = self._present = 0
        self._mean = 0.0
        self._min: Any = None
        self._max: Any = None

    def add(self, values: Any) -> None:
        """Takes in the next rows' values."""
        self._missing += values.null_count
        count = len(values) - values.null_count
        if not count or self._kind == "tensor":
            return
        self._present += count
        if self._kind == "category":
            codes = values.drop_null().to_numpy(zero_copy_only=False)
            self._counts += np.bincount(codes, minlength=len(self._counts))
        elif self._kind == "text":
            self._add_texts(values)
        else:
            self._add_numbers(values, count)

    def _add_texts(self, values: Any) -> None:
        if self._texts is not None:
            self._texts.update(values.unique().drop_null().to_pylist())
            if len(self._texts) > MAX_DISTINCT_TEXTS:
                self._texts = None

    def _add_numbers(self, values: Any, count: int) -> None:
        numbers: Any = values.cast(pa.uint8()) if self._kind == "boolean" else values
        limits: Any = pc.min_max(numbers.cast(pa.int64()) if self._kind == "timestamp" else numbers)
        low, high = limits["min"].as_py(), limits["max"].as_py()
        self._min = low if self._min is None else min(self._min, low)
        self._max = high if self._max is None else max(self._max, high)
        if self._kind != "timestamp":
            mean: float = pc.mean(numbers.cast(pa.float64(), safe=False)).as_py()
            self._mean += (mean - self._mean) * (count / self._present)

    def column(self) -> Column:
        """The column, with all that its type has to tell."""
        told: dict[str, Any] = {}
        if self._kind in ("number", "integer") and self._present:
            told = {"min": self._min, "max": self._max, "mean": self._mean if math.isfinite(self._mean) else None}
        elif self._kind == "timestamp" and self._present:
            told = {"min": _rfc3339(self._min), "max": _rfc3339(self._max)}
        elif self._kind == "boolean":
            distinct = 0 if not self._present else 1 if self._min == self._max else 2
            told = {"distinct": distinct, "mean": self._mean if self._present else None}
        elif self._kind == "category":
            told = {"distinct": int(np.count_nonzero(self._counts)), "most_common": self._most_common()}
        elif self._kind == "text":
            told = {"distinct": None if self._texts is None else len(self._texts)}
        elif self._kind == "tensor":
            told = {"shape": self._shape, "dtype": self._dtype}
        return Column(name=self._name, type=self._kind, missing=self._missing, **told)

    def _most_common(self) -> list[str]:
        order = np.argsort(-self._counts, kind="stable")[:MOST_COMMON]
        return [self._categories[index] for index in order if self._counts[index]]


def _rfc3339(microseconds: int) -> str:
    return str(np.datetime64(microseconds, "us")).removesuffix(".000000") + "Z"
