"""A PostgreSQL server of one's own: the machine's package, on a free loopback port, in a temporary folder."""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.records import BenchmarkFailed
from chaos.records import Skipped
from chaos.run import Run
from examples.service_process import free_port

__all__ = ["Postgres"]

BINARIES = Path("/usr/lib/postgresql")
ANSWERS_WITHIN_S = 60.0
SERVER_USER = "postgres"  # the server refuses to run as root


class Postgres:
    """A server with an empty database, that may be stopped and started; a context manager that ends it.

    It runs with `environment` beside that of this process. Raises Skipped where PostgreSQL is not installed.
    """

    def __init__(self, run: Run, environment: Mapping[str, str] | None = None) -> None:
        self._binaries = max(BINARIES.glob("*/bin"), key=lambda path: float(path.parent.name), default=None)
        if self._binaries is None:
            raise Skipped(f"PostgreSQL is not installed: there is no {BINARIES}/*/bin")
        self._data, self._port = run.folder / "postgres", free_port()
        self._user = SERVER_USER if os.getuid() == 0 else None
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://chainrule@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> "Postgres":
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self._data, owner.pw_uid, owner.pw_gid)
            self._data.parent.chmod(0o711)  # for that user to reach its folder
        arguments = [f"--pgdata={self._data}", "--username=chainrule", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        self._done("initdb", *arguments)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the server; returns when it answers."""
        settings = [f"port={self._port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        command = [self._program("postgres"), "-D", str(self._data)]
        for setting in settings:
            command += ["-c", setting]
        self._process = subprocess.Popen(
            command,
            user=self._user,
            env=self._environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while self._returns("pg_isready", "--host=127.0.0.1", f"--port={self._port}", "--quiet"):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise BenchmarkFailed(f"PostgreSQL did not answer within {ANSWERS_WITHIN_S:.0f} s")
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

    def _program(self, name: str) -> str:
        assert self._binaries is not None
        return str(self._binaries / name)

    def _returns(self, name: str, *arguments: str) -> int:
        return subprocess.run(
            [self._program(name), *arguments], check=False, user=self._user, cwd="/", stdout=subprocess.DEVNULL
        ).returncode

    def _done(self, name: str, *arguments: str) -> None:
        if code := self._returns(name, *arguments):
            raise BenchmarkFailed(f"{name} ended with {code}")
