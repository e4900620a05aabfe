"""A PostgreSQL server of one's own for a while: the machine's package, on a loopback port, in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from examples.service_process import free_port

__all__ = ["DatabaseFailed", "NotInstalled", "PostgreSQL", "newest_binaries"]

BINARIES = Path("/usr/lib/postgresql")
ANSWERS_WITHIN_S = 60.0
SERVER_USER = "postgres"  # the server refuses to run as root
WHERE_IT_LISTENS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}


class NotInstalled(Exception):
    """The machine has no PostgreSQL."""


class DatabaseFailed(Exception):
    """The server did not start; the message holds the end of its log."""


def newest_binaries() -> Path | None:
    """Where the programs of the newest PostgreSQL lie, as Debian installs them, or None."""
    return max(BINARIES.glob("*/bin"), key=lambda path: float(path.parent.name), default=None)


class PostgreSQL:
    """A server that may be stopped and started; a context manager that leaves neither process nor file behind.

    `parent` is the folder in which it makes its own. It runs with `settings`, and with `environment` beside that of
    this process. Raises NotInstalled.
    """

    def __init__(
        self,
        parent: Path | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        binaries = newest_binaries()
        if binaries is None:
            raise NotInstalled(f"PostgreSQL is not installed: there is no {BINARIES}/*/bin")
        self._binaries, self._parent, self._port = binaries, parent, free_port()
        self._settings = {"port": str(self._port), **WHERE_IT_LISTENS, **(settings or {})}
        self._environment = {**os.environ, **(environment or {})}
        self._user = SERVER_USER if os.geteuid() == 0 else None
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://chainrule@127.0.0.1:{self._port}/postgres"
        """An empty database."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir=self._parent))
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            if self._parent is not None:
                self._parent.chmod(0o711)  # for that user to reach its folder
        self._do(
            "initdb", f"--pgdata={self._data}", "--username=chainrule", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts the server; returns when it answers. Raises DatabaseFailed."""
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", str(self._data), *settings],
                user=self._user,
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while self._returns("pg_isready", "--host=127.0.0.1", f"--port={self._port}", "--quiet"):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise DatabaseFailed(f"PostgreSQL did not answer within {ANSWERS_WITHIN_S:.0f} s\n{self._log_tail()}")
            time.sleep(0.05)  # a process that is starting has no event to wait for

    def stop(self) -> None:
        """Ends the server at once, cutting every connection; what was committed is kept."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server is stopped on entering, and started on leaving."""
        self.stop()
        yield
        self.start()

    def new_database(self, like: str | None = None) -> str:
        """The URL of one more database: an empty one, or a copy of the one at the URL `like`, to which nobody must be
        connected."""
        name = f"database_{uuid.uuid4().hex}"
        url = sa.make_url(self.url).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            template = "" if like is None else f" TEMPLATE {sa.make_url(like).database}"
            connection.execute(sa.text(f"CREATE DATABASE {name}{template}"))
        engine.dispose()
        return url.set(database=name).render_as_string()

    @property
    def process_id(self) -> int:
        """That of the server, which starts others for its connections."""
        assert self._process is not None
        return self._process.pid

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _program(self, name: str) -> str:
        return str(self._binaries / name)

    def _returns(self, name: str, *arguments: str) -> int:
        with (self._folder / "log").open("ab") as log:
            command = [self._program(name), *arguments]
            return subprocess.run(command, check=False, user=self._user, cwd="/", stdout=log, stderr=log).returncode

    def _do(self, name: str, *arguments: str) -> None:
        if code := self._returns(name, *arguments):
            raise DatabaseFailed(f"{name} ended with {code}\n{self._log_tail()}")

    def _log_tail(self, lines: int = 30) -> str:
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-lines:])
