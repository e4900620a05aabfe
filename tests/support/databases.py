"""Databases with all tables and nothing in them, migrated once and copied: migrating takes many times as long."""

import functools
import tempfile
from pathlib import Path

from service.database import Database

__all__ = ["migrate", "migrated"]


@functools.cache
def migrated() -> bytes:
    """An SQLite file."""
    with tempfile.TemporaryDirectory(prefix="chainrule-test-") as folder:
        file = Path(folder) / "test.sqlite3"
        migrate(f"sqlite:///{file}")
        return file.read_bytes()


def migrate(url: str) -> None:
    """Makes all tables."""
    database = Database(url)
    database.migrate()
    database.close()
