"""The database: its tables, how it is reached, and its migrations. SQLite by default, PostgreSQL by URL."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

__all__ = [
    "Database",
    "dataset_names",
    "datasets",
    "events",
    "idempotency_keys",
    "job_labels",
    "jobs",
    "metadata",
    "migrations_of",
]

BUSY_TIMEOUT_S = 20

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Json = sa.JSON(none_as_null=True)
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up only what it calls INTEGER
Time = sa.String(27)  # RFC 3339 in UTC with microseconds, which sorts as text

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("read_as", sa.String(64), nullable=False),  # digest of the media type and the options
    sa.Column("columns", Json, nullable=False),
    sa.Column("categories", Json, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("name", "version"),
    sqlite_autoincrement=True,
)

dataset_names = sa.Table(
    "dataset_names",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_version", sa.Integer, nullable=False),  # whose data set may be deleted: no version is used again
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("requested", sa.String(10)),  # what a user asked for and the job has not come to yet
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("cpus_min", sa.Integer, nullable=False),
    sa.Column("cpus_max", sa.Integer, nullable=False),
    sa.Column("plan", Json, nullable=False),  # the spec is in it, every default filled in
    sa.Column("dataset_id", sa.String(40), nullable=False),
    sa.Column("validation_dataset_id", sa.String(40)),
    sa.Column("dataset_sha256", sa.String(64), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("losses", sa.Integer, nullable=False),  # attempts lost since the last new checkpoint
    sa.Column("out_of_memory", sa.Integer, nullable=False, server_default="0"),  # attempts lost to that, in all
    sa.Column("retry_at", Time),  # before which it is not to start, as it has just been lost
    sa.Column("preempted_by", sa.Text),  # of a paused job that resumes by itself: for whom it gave way, in words
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("environment", Json, nullable=False),
    sa.Column("parameters_sha256", sa.String(64)),
    sa.Column("error", Json),
    sa.Column("last_event", sa.BigInteger, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("finished_at", Time),
    sa.Index(None, "state", "priority", "number"),
    sa.Index(None, "dataset_id"),
    sqlite_autoincrement=True,
)

job_labels = sa.Table(
    "job_labels",
    metadata,
    sa.Column("job_number", Number, sa.ForeignKey(jobs.c.number, ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(63), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Index(None, "key", "value"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("job_number", Number, sa.ForeignKey(jobs.c.number, ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(10), nullable=False),
    sa.Column("step", sa.BigInteger),  # of metrics: a step is told once, whatever was repeated after a resume
    sa.Column("data", Json, nullable=False),
    sa.UniqueConstraint("job_number", "type", "step"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("job_number", Number, sa.ForeignKey(jobs.c.number, ondelete="CASCADE"), nullable=False, index=True),
)


class Database:
    """Connections to one database. Every transaction is committed, and on disk, when its `with` block has ended."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(
            url,
            json_serializer=lambda value: json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")),
            pool_pre_ping=not url.startswith("sqlite"),
            **({"connect_args": {"timeout": BUSY_TIMEOUT_S}} if url.startswith("sqlite") else {}),
        )
        self._reader = self._engine.execution_options(chainrule_reads=True)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that writes nothing."""
        with self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that may write; in SQLite no other one writes meanwhile."""
        with self._engine.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Brings the tables up to date. Raises SQLAlchemyError when the database cannot be reached."""
        from alembic import command

        with self.writing() as connection:
            command.upgrade(migrations_of(connection), "head")

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()


def migrations_of(connection: sa.Connection) -> Any:
    """Alembic's configuration for our migrations, to be run on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    """Rollback journal and EXTRA: what was committed survives a power cut, on any file system."""
    connection.isolation_level = None  # transactions are begun below, not by Python's driver
    for setting in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Writers take the lock at once: to be refused it in the middle of a transaction would be a dead end."""
    reads = connection.get_execution_options().get("chainrule_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
