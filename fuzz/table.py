"""The data set that a round begins with, and files of each kind to upload."""

import io
import os
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet

__all__ = ["FILES", "WEBHOOK_HOST", "Seeded"]

NAME, TARGET, TENANT = "fuzzed-table", "y", "default"
WEBHOOK_HOST = "hooks.invalid"
"""The one host that the service may send webhooks to: by RFC 2606 it is nowhere."""
ROWS = 40
COLUMNS: dict[str, list[Any]] = {
    "a": list(range(ROWS)),
    "b": [None if row % 9 == 0 else row * row % 7 / 2 for row in range(ROWS)],
    "kind": ["odd" if row % 2 else "even" for row in range(ROWS)],
    TARGET: [3 * row + 1 for row in range(ROWS)],
}


def _csv() -> bytes:
    rows = zip(*COLUMNS.values(), strict=True)
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    return "\n".join([",".join(COLUMNS), *lines, ""]).encode()


def _npz() -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = {name: np.array(COLUMNS[name]) for name in ("a", "kind", TARGET)}
    np.savez(file, **arrays)
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(pa.table(COLUMNS), file)
    return file.getvalue()


FILES = {
    "text/csv": _csv(),
    "application/x-npz": _npz(),
    "application/vnd.apache.parquet": _parquet(),
}
"""A good file by media type, all with the columns of the table."""


@dataclass(frozen=True)
class Seeded:
    """What is there before a round, and must be there to its end: a data set to train on, and the keys in use."""

    dataset: str
    target: str
    features: tuple[str, ...]
    kept: frozenset[str]
    """Ids and names of what no request may remove."""

    @classmethod
    def at(cls, http: httpx.Client, *key_ids: str) -> "Seeded":
        """Uploads the data set, unless it is there."""
        headers = {"Content-Type": "text/csv"}
        answer = http.post("/v1/datasets", params={"name": NAME}, headers=headers, content=FILES["text/csv"])
        answer.raise_for_status()
        return cls._of(NAME, answer.json()["id"], *key_ids)

    @classmethod
    def _of(cls, *kept: str) -> "Seeded":
        features = tuple(name for name in COLUMNS if name != TARGET)
        return cls(NAME, TARGET, features, frozenset({TENANT, *kept}))

    @property
    def environment(self) -> dict[str, str]:
        """For the process that makes the requests."""
        return {"FUZZ_KEPT": " ".join(sorted(self.kept))}

    @classmethod
    def from_environment(cls) -> "Seeded":
        """What the process that started this one has seeded."""
        return cls._of(*os.environ["FUZZ_KEPT"].split())
