"""What is said between the service and a process that reads an uploaded file: JSON, both ways."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from service.ingest.options import ReadOptions
from shared.table import TableFile

__all__ = ["END_OF_ANSWER", "MAX_ORDER_BYTES", "Answer", "Limits", "Order", "WrongField"]

MAX_ORDER_BYTES = 1 << 16
END_OF_ANSWER = b"\0"  # between a process's answer, which is a line, and its exit status


class Limits(BaseModel):
    """What reading one file may take; a process that takes more is ended."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    memory_bytes: int = 2 << 30
    """Memory of its own: the file itself, which is mapped, does not count."""
    base_s: int = 120
    """Seconds of CPU for any file …"""
    bytes_per_s: int = 4 << 20
    """… and one more for so many bytes of it: a twentieth of the usual pace."""

    table_bytes: int = 2 << 30
    """The table that is made, and for each byte of the file …"""
    table_bytes_a_byte: int = 5
    """… so many more: a CSV of single digits becomes four times as long."""
    told_bytes: int = 16 << 20
    """What there is to tell of a table: names, categories, profiles."""

    def cpu_s(self, size_bytes: int) -> int:
        """Seconds of CPU for a file of that size."""
        return self.base_s + size_bytes // self.bytes_per_s

    def made_bytes(self, size_bytes: int) -> int:
        """Bytes of the table for a file of that size."""
        return self.table_bytes + self.table_bytes_a_byte * size_bytes


class Order(BaseModel):
    """Make `folder`/table.arrow of the file `source`; see `service.datasets.ingest`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    tenant: str
    """For whom: none has all readers at once."""
    source: Path
    media_type: str
    options: ReadOptions
    folder: Path
    dataset_id: str
    sha256: str
    limits: Limits = Limits()


class WrongField(BaseModel):
    """One mistake of the file; `got` as it may be shown."""

    field: str
    got: Any
    expected: str


class Answer(BaseModel):
    """How it went: exactly one of these."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: TableFile | None = None
    """What was made."""
    errors: list[WrongField] | None = None
    """What is wrong with the file."""
    out_of_memory: bool = False
    """It needs more than it may have."""
    machine: tuple[int, str] | None = None
    """What is wrong with the machine, a full disk for example: an OSError's number and words."""
