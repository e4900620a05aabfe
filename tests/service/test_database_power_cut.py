"""After a power cut at any moment SQLite holds all that was committed, and of the transaction that was under way all or
nothing."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.database import Database
from support import stores_jobs
from support.jobs import with_a_dataset
from support.power_cut import lay_out
from support.stores_jobs import NAME, contents
from support.traced_writes import Operation, can_trace, cuts, traced

pytestmark = pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, Any], list[Operation]]:
    """The database as it was, what was in it, and what was then done to its folder."""
    folder = tmp_path_factory.mktemp("database")
    database = Database(f"sqlite:///{folder / NAME}")
    database.migrate()
    with_a_dataset(database, folder)
    database.close()
    before, empty = {NAME: (folder / NAME).read_bytes()}, contents(folder)
    return before, empty, traced(Path(stores_jobs.__file__), folder, folder.parent / "trace")


def lost(recorded: Any, folder: Path, forgets: str = "") -> Iterator[str]:
    """What is wrong after one of the cuts."""
    before, empty, record = recorded
    committed = [empty, *(json.loads(operation.content) for operation in record if operation.what == "mark")]
    for promised, files in cuts(before, record, forgets):
        for path in folder.iterdir():
            path.unlink()
        try:
            found = contents(lay_out(files, folder))
        except sqlite3.DatabaseError as error:
            yield f"after {len(promised)} commits: {error}"
        else:
            if found not in committed[len(promised) : len(promised) + 2]:
                yield f"after {len(promised)} commits, the database is neither as it was then nor as after the next"


def test_a_power_cut_loses_nothing_that_was_committed_and_leaves_no_half_transaction(
    recorded: Any, tmp_path: Path
) -> None:
    assert sum(operation.what == "mark" for operation in recorded[2]) == 7
    assert list(lost(recorded, tmp_path)) == []


@pytest.mark.parametrize("forgets", ["flush", "flush_folder"])
def test_a_database_that_does_not_flush_is_caught(recorded: Any, tmp_path: Path, forgets: str) -> None:
    assert next(lost(recorded, tmp_path, forgets), None) is not None
