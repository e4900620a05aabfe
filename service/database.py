"""The database: its tables, how it is reached, and its migrations. SQLite by default, PostgreSQL by URL."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy import event, exc
from sqlalchemy.ext.compiler import compiles

__all__ = [
    "AWAY",
    "DEFAULT_TENANT",
    "QUOTAS",
    "WAITS",
    "Database",
    "DatabaseTime",
    "control_planes",
    "dataset_names",
    "datasets",
    "deliveries",
    "events",
    "idempotency_keys",
    "job_labels",
    "jobs",
    "keys",
    "metadata",
    "migrations_of",
    "payloads",
    "plans",
    "reason_of",
    "sessions",
    "signin_codes",
    "tenants",
    "webhooks",
]

AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
"""What is raised when the database cannot be reached, or is locked: the same may succeed later."""

DEFAULT_TENANT = "default"
"""The tenant of the first key, and of all that was there before there were tenants."""

BUSY_TIMEOUT_S = 10  # for a writer of this process to be done, and then for one of another
CONNECTS_WITHIN_S = 5
POOL = {"pool_size": 15, "max_overflow": 0}  # all are kept: to open one again and again costs a tenth of a submit
BELIEVED_S = 1.0  # a connection that was used so lately is not asked whether it lives
IDLE_IN_TRANSACTION_S = 5  # then PostgreSQL gives up a client that stopped or vanished, and what it had locked is free
IDLE_TOO_LONG = "25P03"  # what PostgreSQL tells such a client
TAKES_NO_WRITES = "25006"  # what it tells while it fails over, or where its operator has it take none
TURN_WITHIN_S = 2  # for whoever gives out CPUs to be done
MIGRATING, SCHEDULING = 0x63686169_01, 0x63686169_02  # advisory locks of PostgreSQL: numbers that nobody else uses

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


IF_IT_WAITS = "CASE WHEN state = 'queued' OR (state = 'paused' AND requested = 'resume') THEN 1 END"
QUOTAS = ("running_jobs", "cpus", "queued_jobs", "stored_bytes", "submits_per_minute", "max_priority")


def _tenant(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column("tenant", sa.String(63), nullable=False, server_default=DEFAULT_TENANT, primary_key=primary_key)


tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("created_at", Time, nullable=False),
    # Its quota; null means the service's default. `service/quota.py` says what each limits.
    *(sa.Column(name, sa.BigInteger) for name in QUOTAS),
    sa.Column("share", sa.Double),
    # When a job of it was last given CPUs: later than of all others before, wherever clocks are set.
    sa.Column("served_at", Time),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("tenant", sa.String(63), sa.ForeignKey(tenants.c.name), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.String(10), nullable=False),  # the highest, which implies those below
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("revoked_at", Time),
    sqlite_autoincrement=True,
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("key_number", Number, sa.ForeignKey(keys.c.number), nullable=False),
    sa.Column("expires_at", Time, nullable=False),
)

signin_codes = sa.Table(
    "signin_codes",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("key_number", Number, sa.ForeignKey(keys.c.number), nullable=False),
    sa.Column("expires_at", Time, nullable=False),
)

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    _tenant(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),  # of what was uploaded
    sa.Column("table_bytes", sa.BigInteger),  # of its file; null of those from before this was kept
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("read_as", sa.String(64), nullable=False),  # digest of the media type and the options
    sa.Column("columns", Json, nullable=False),
    sa.Column("categories", Json, nullable=False),
    sa.Column("profile_bytes", sa.BigInteger, nullable=False, server_default="0"),  # of `columns`
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("tenant", "name", "version"),
    # Sizes are looked up in it alone: on its way to them in a row, SQLite reads all columns and categories.
    sa.Index("ix_datasets_sizes", "tenant", "number", "profile_bytes", "table_bytes", "size_bytes"),
    sqlite_autoincrement=True,
)

dataset_names = sa.Table(
    "dataset_names",
    metadata,
    _tenant(primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_version", sa.Integer, nullable=False),  # whose data set may be deleted: no version is used again
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    _tenant(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("requested", sa.String(10)),  # what a user asked for and the job has not come to yet
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("cpus_min", sa.Integer, nullable=False),
    sa.Column("cpus_max", sa.Integer, nullable=False),
    sa.Column("dataset_id", sa.String(40), nullable=False),
    sa.Column("validation_dataset_id", sa.String(40)),
    sa.Column("dataset_sha256", sa.String(64), nullable=False),
    sa.Column("epochs", sa.BigInteger, nullable=False, server_default="1"),  # these two as in its plan
    sa.Column("steps_per_epoch", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("losses", sa.Integer, nullable=False),  # attempts lost since the last new checkpoint
    sa.Column("internal_errors", sa.Integer, nullable=False, server_default="0"),  # those of them by mistakes of ours
    sa.Column("out_of_memory", sa.Integer, nullable=False, server_default="0"),  # attempts lost to that, in all
    sa.Column("retry_at", Time),  # before which it is not to start, as it has just been lost
    sa.Column("preempted_by", sa.Text),  # of a job that pauses, or has, and resumes by itself: for whom, in words
    sa.Column("workers", sa.Integer, nullable=False),
    sa.Column("cpus_wanted", sa.Integer),  # of a running job: how many it was asked, last, to compute on
    sa.Column("cpus_held", sa.Integer),  # of a running job: with those that it is to grow into, or has yet to give up
    sa.Column("progress", Json, nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("environment", Json, nullable=False),
    sa.Column("parameters_sha256", sa.String(64)),
    sa.Column("error", Json),
    sa.Column("last_event", sa.BigInteger, nullable=False),
    sa.Column("last_report", sa.BigInteger, nullable=False, server_default="0"),  # of the attempt, that was taken in
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),  # counts every change of state or owner
    sa.Column("owner", sa.String(40)),  # of a running job: the control plane that follows it
    sa.Column("lease_until", sa.Double),  # of a running job, in seconds by DatabaseTime
    sa.Column("wait_until", Time),  # of a job that has never started: when it fails
    sa.Column("reserved_at", Time),  # of a job that waits: since when CPUs are kept free for it
    sa.Column("waits", sa.Integer, sa.Computed(IF_IT_WAITS)),
    sa.Column("model_bytes", sa.BigInteger, nullable=False, server_default="0"),  # that its model has, or will have
    sa.Column("plan_bytes", sa.BigInteger, nullable=False, server_default="0"),  # of its plan, which may be megabytes
    sa.Column("submitted_by", sa.Text),  # the name that its key had then; null of jobs from before this was kept
    sa.Column("created_at", Time, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("finished_at", Time),
    sa.Index(None, "state", "tenant", "number"),
    sa.Index(None, "tenant", "number"),
    sa.Index(None, "dataset_id"),
    sqlite_autoincrement=True,
)

WAITS = jobs.c.waits.is_not(None)
"""Of jobs: that it waits for CPUs, first or again. Indexes of such jobs alone stay small, however many have ended."""
_HAS_DEADLINE = jobs.c.wait_until.is_not(None)
_IS_RESERVED = jobs.c.reserved_at.is_not(None)


def _index(name: str, *columns: sa.ColumnElement[Any], where: sa.ColumnElement[bool]) -> None:
    """An index of some of the jobs."""
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


_index("ix_jobs_waiting", jobs.c.tenant, jobs.c.priority.desc(), jobs.c.number, jobs.c.cpus_min, where=WAITS)
_index("ix_jobs_waiting_cpus", jobs.c.cpus_min, where=WAITS)
_index("ix_jobs_reserved_at", jobs.c.reserved_at, where=_IS_RESERVED)
_index("ix_jobs_wait_until", jobs.c.wait_until, where=_HAS_DEADLINE)
sa.Index("ix_jobs_stored", jobs.c.tenant, jobs.c.model_bytes, jobs.c.plan_bytes)

plans = sa.Table(  # apart from jobs: SQLite writes the whole row, megabytes of plan too, when anything of it changes
    "plans",
    metadata,
    sa.Column("job_number", Number, sa.ForeignKey(jobs.c.number, ondelete="CASCADE"), primary_key=True),
    sa.Column("plan", Json, nullable=False),  # the spec is in it, every default filled in
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
    sa.Column("at", Time),  # when it happened; of those from before this column was there, it is not known
    sa.Column("data", Json, nullable=False),
    sa.UniqueConstraint("job_number", "type", "step"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    _tenant(primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("job_number", Number, sa.ForeignKey(jobs.c.number, ondelete="CASCADE"), nullable=False, index=True),
)

control_planes = sa.Table(
    "control_planes",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("lease_until", sa.Double, nullable=False),  # as that of a job: it is alive until then
)

data_folder = sa.Table(
    "data_folder",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # one row, of the folder that all files of the jobs are in
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("tenant", sa.String(63), nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),  # with the port: how many requests it gets at once is limited
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("events", Json, nullable=False),
    sa.Column("labels", Json, nullable=False),  # which a job must have
    sa.Column("disabled_because", sa.Text),  # while it is: nothing is sent to it
    sa.Column("failing_since", sa.Double),  # since when nothing has arrived, in seconds by DatabaseTime
    sa.Column("generation", sa.Integer, nullable=False),  # counts the secrets that it had
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("old_secret_until", Time),  # the secret before it signs too until then
    sa.Column("created_at", Time, nullable=False),
    sqlite_autoincrement=True,
)

payloads = sa.Table(  # one of an event, however many webhooks it is delivered to
    "payloads",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("payload", sa.Text, nullable=False),  # the very characters that are signed and sent
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("webhook_number", Number, sa.ForeignKey(webhooks.c.number, ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("payload_id", sa.String(40), sa.ForeignKey(payloads.c.id), nullable=False, index=True),
    sa.Column("payload_bytes", sa.Integer, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("due_at", sa.Double, nullable=False),  # of a pending one, in seconds by DatabaseTime
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retries", sa.Boolean, nullable=False),  # not what was sent by hand
    sa.Column("attempted_at", sa.Double),  # of the last attempt, as the rest
    sa.Column("status", sa.Integer),
    sa.Column("duration_s", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("response", sa.Text),  # its beginning
    sa.Column("created_at", Time, nullable=False),
    sa.Index(None, "webhook_number", "state", "due_at", "number"),
    sa.Index(None, "webhook_number", "number"),
    sqlite_autoincrement=True,
)


class DatabaseTime(sa.sql.functions.FunctionElement[float]):
    """Seconds since 1970 by the database's clock, the one that all control planes share."""

    type = sa.Double()
    inherit_cache = True


@compiles(DatabaseTime, "postgresql")
def _time_of_postgresql(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(DatabaseTime, "sqlite")
def _time_of_sqlite(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class Database:
    """Connections to one database. Every transaction is committed, and on disk, when its `with` block has ended."""

    def __init__(self, url: str) -> None:
        """`?timeout=` in the URL of an SQLite file: seconds to wait for another process that has locked it."""
        self._engine = sa.create_engine(
            url,
            json_serializer=json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode,
            json_deserializer=from_json,
            connect_args=_connect_args(sa.make_url(url)),
            **({} if sa.make_url(url).database in (None, "", ":memory:") else POOL),
        )
        self._reader = self._engine.execution_options(chainrule_reads=True)
        self._writers: AbstractContextManager[None] = nullcontext()
        if self._engine.dialect.name == "sqlite":
            self._writers = _OneAtATime(float(str(sa.make_url(url).query.get("timeout", BUSY_TIMEOUT_S))))
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            event.listen(self._engine, "connect", _set_up_postgresql)
            event.listen(self._engine, "checkout", self._check)
            event.listen(self._engine, "checkin", _note_use)
            event.listen(self._engine, "handle_error", _tell_away)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that writes nothing."""
        with self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that may write; in SQLite no other one writes meanwhile. Raises one of AWAY where none may."""
        with self._writers, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def scheduling(self) -> Iterator[Callable[[], object]]:
        """Keeps all who give out CPUs from doing so at once; SQLite has one such process anyway.

        Raises one of AWAY where another one does so for too long; so does what it yields, to be called before each CPU
        that is given out, where we were the ones who took too long, and somebody else may have the turn by now.
        """
        if self._engine.dialect.name == "sqlite":
            yield lambda: None
            return
        with self.reading() as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{TURN_WITHIN_S}s'"))
            _lock(connection, SCHEDULING)
            yield lambda: connection.execute(sa.select(1))

    def migrate(self) -> None:
        """Brings the tables up to date. Raises SQLAlchemyError when the database cannot be reached."""
        from alembic import command

        with self.writing() as connection:
            _lock(connection, MIGRATING)
            command.upgrade(migrations_of(connection), "head")

    def belongs_to(self, folder: str) -> bool:
        """Whether what is in it belongs to the data folder of that id; so it does to the first that asks."""
        with self.scheduling(), self.writing() as connection:
            owner = connection.scalar(sa.select(data_folder.c.id))
            if owner is None:
                connection.execute(sa.insert(data_folder).values(id=folder))
        return owner in (None, folder)

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    def _check(self, connection: Any, record: Any, _proxy: Any) -> None:
        """Has connections opened anew that broke while they were idle. To ask takes as long as a small query, so one
        that was in use a moment ago is believed."""
        if time.monotonic() < record.info.get("used_at", 0.0) + BELIEVED_S:
            return
        try:
            self._engine.dialect.do_ping(connection)
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise exc.InvalidatePoolError from error


class _OneAtATime(AbstractContextManager[None]):
    """The turn of a writer. SQLite itself looks every now and then, at last every 100 ms, whether a lock is free, so
    that of several writers one might never find it so."""

    def __init__(self, waits_s: float) -> None:
        self._lock, self._waits_s = threading.Lock(), waits_s

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._waits_s):
            raise exc.TimeoutError(f"another transaction of this process writes for {self._waits_s:g} s already")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def reason_of(error: Exception) -> str:
    """What the database or its driver says, in one line."""
    return (str(getattr(error, "orig", error)).splitlines() or [type(error).__name__])[0]


def migrations_of(connection: sa.Connection) -> Any:
    """Alembic's configuration for our migrations, to be run on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _lock(connection: sa.Connection, number: int) -> None:
    """Waits until no other transaction holds that lock; an SQLite file is used by one process only."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def _connect_args(url: sa.URL) -> dict[str, Any]:
    """What the URL does not say itself."""
    if url.get_backend_name() == "sqlite":
        ours = {"timeout": BUSY_TIMEOUT_S}
    else:  # a server whose machine is gone is noticed within ten seconds, not after the two hours of TCP's defaults
        ours = {
            "connect_timeout": CONNECTS_WITHIN_S,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
    return {name: value for name, value in ours.items() if name not in url.query}


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'")
    connection.commit()


def _tell_away(context: sa.engine.ExceptionContext) -> None:
    """A transaction that was given up as its client stopped is none of our mistakes: the next one may succeed. One that
    was refused to write may do so on another connection, which reaches another server, or is told otherwise."""
    error = context.original_exception
    state = getattr(error, "sqlstate", None)
    if state == TAKES_NO_WRITES:
        context.is_disconnect = True
    if state in (IDLE_TOO_LONG, TAKES_NO_WRITES):
        raise exc.OperationalError(context.statement, None, error) from error


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    """Rollback journal and EXTRA: what was committed survives a power cut, on any file system. A write-ahead log would
    flush less, but until SQLite 3.51.3 may lose commits where two connections meet, and Python's is older mostly."""
    connection.isolation_level = None  # transactions are begun below, not by Python's driver
    for setting in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Writers take the lock at once: to be refused it in the middle of a transaction would be a dead end."""
    if connection.get_execution_options().get("chainrule_reads", False):
        connection.connection.cursor().execute("BEGIN")  # takes no lock yet: nothing can be wrong that SQLAlchemy tells
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
