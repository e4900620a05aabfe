"""The database, SQLite, is locked by another connection for half a minute.

Training goes on; a submit is told 503 with Retry-After, or is acknowledged once it is committed; nothing is lost.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from chaos.outages import outage
from chaos.records import Finding
from chaos.run import Run
from chaos.service import running

__all__ = ["measure"]


def measure(run: Run) -> Finding:
    with running(run) as service:
        return outage(service, _locked(service.data_dir / "chainrule.sqlite3"), run.amount(30.0, quick=3.0))


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, timeout=60.0, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
