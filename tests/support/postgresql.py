"""A PostgreSQL server of the tests' own, from the machine's package."""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import sqlalchemy as sa

from support.running_service import free_port

SETTINGS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=200"


def newest_binaries() -> Path | None:
    """Where the programs of the newest PostgreSQL lie, as Debian installs them, or None."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parents[1].name), default=None)
    return newest and newest.parent


class PostgreSQL:
    """A server on a free loopback port; `start` may follow `stop` to see what survives.

    It refuses to run as root: where the tests do, it runs as the package's user `postgres`.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="chainrule-postgresql-"))  # pytest's own are closed to other users
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._port = free_port()
        self._run("initdb", "--username=chainrule", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def start(self) -> None:
        """Returns when it takes connections."""
        options = f"--options={SETTINGS} -c port={self._port}"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._folder / 'log'}", options)

    def stop(self) -> None:
        """Cuts every connection, and returns when it has ended."""
        self._run("pg_ctl", "stop", "--mode=fast", "--silent")

    def remove(self) -> None:
        """Ends it for good."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--silent", check=False)
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        engine = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://chainrule@127.0.0.1:{self._port}/{database}"

    def _run(self, program: str, *options: str, check: bool = True) -> None:
        command = [self._binaries / program, f"--pgdata={self._folder / 'data'}", *options]
        with (self._folder / "commands.log").open("a") as log:
            done = subprocess.run(command, user=self._user, cwd="/", stdout=log, stderr=log, check=False)
        if check and done.returncode:
            told = "\n".join(path.read_text(errors="replace")[-2000:] for path in self._folder.glob("*log"))
            raise RuntimeError(f"{program} ended with {done.returncode}\n{told}")
