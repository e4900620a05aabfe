"""A data set as the engine sees it: one Arrow IPC file of typed columns, and what is known of each column."""

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Column", "ColumnType", "TableFile"]

ColumnType = Literal["number", "integer", "boolean", "category", "text", "timestamp", "tensor"]


class Column(BaseModel):
    """One column and its profile; what does not apply to its type is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """As in the header of the file."""
    type: ColumnType
    """What the values are."""
    missing: Annotated[int, Field(ge=0)] = 0
    """Rows without a value."""
    min: float | int | str | None = None
    """Smallest value (number, integer; timestamp as RFC 3339)."""
    max: float | int | str | None = None
    """Largest value (number, integer; timestamp as RFC 3339)."""
    mean: float | None = None
    """Mean of the values (number, integer; share of true for a boolean)."""
    distinct: int | None = None
    """Number of different values (category, text, boolean)."""
    most_common: list[str] | None = None
    """The most frequent values, most frequent first (category)."""
    shape: list[int] | None = None
    """Shape of one row's value (tensor)."""
    dtype: str | None = None
    """numpy's name of the element type (tensor)."""
    note: str | None = None
    """What a user might not expect of how it was read: a cell that kept a column of numbers from being one."""


class TableFile(BaseModel):
    """Where a data set's rows lie, and how to read them.

    The file at `path` is one uncompressed Arrow IPC *file*, memory-mappable. Columns by type: number float64, integer
    int64, boolean bool, category int32 codes into `categories[name]`, text large_string, timestamp timestamp[us, UTC],
    tensor fixed_size_list of its dtype, flattened in row-major order. A missing value is an Arrow null; tensors have
    none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_id: str
    path: str
    rows: int
    sha256: str
    columns: list[Column]
    categories: dict[str, list[str]] = Field(default_factory=dict)

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}
