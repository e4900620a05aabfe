"""A program that queues, starts and ends jobs in an SQLite database, and says after each commit what is in it now.

python stores_jobs.py FOLDER: the database is there, brought up to date, with a data set. What is in it is written to
the folder's file `marks`, a line of JSON after each commit.
"""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from service.database import Database
from service.jobs import JobState, Move
from service.store import Store, Told
from support.jobs import TENANT, new_job
from support.traced_writes import MARKS

NAME = "chainrule.sqlite3"
TABLES = ("jobs", "plans", "events", "job_labels", "idempotency_keys")


def main(folder: Path) -> None:
    database = Database(f"sqlite:///{folder / NAME}")
    store = Store(database)
    marks = os.open(folder / MARKS, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def promise() -> None:
        os.write(marks, json.dumps(contents(folder)).encode() + b"\n")

    job = store.add(new_job(key="once", labels={"team": "a"}))[0]
    promise()
    job = store.move(job.id, job.epoch, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"), workers=1)
    promise()
    for step in (1, 2):
        store.record(job.id, job.epoch, [Told("metrics", {"train_loss": 0.5, "pad": "x" * 3000}, step)])
        promise()
    store.add(new_job())
    promise()
    store.move(job.id, job.epoch, JobState.RUNNING, lambda _: Move(JobState.SUCCEEDED, "trained to its end"))
    promise()
    store.delete(TENANT, job.id)
    promise()
    database.close()


def contents(folder: Path) -> dict[str, list[Any]]:
    """Every row of the tables of jobs. Raises sqlite3.DatabaseError, also where the file is damaged."""
    with closing(sqlite3.connect(folder / NAME)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        tables = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}  # noqa: S608
        return {table: [list(row) for row in rows] for table, rows in tables.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
