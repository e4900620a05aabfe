"""A Chainrule service of one's own for a while: started in a temporary folder, stopped with all that it started."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from chainrule import Client, Unavailable, Unreachable

STOPS_WITHIN_S = 10.0


class ServiceFailed(Exception):
    """The service did not start, or did not stop, as it should; the message holds the end of its log."""


class ServiceProcess:
    """`chainrule serve` on a free loopback port; a context manager that leaves neither process nor file behind.

    `options` are arguments of `chainrule serve`. After `kill` or `kill_all` it may be started again, at the same
    address and with all that it kept.
    """

    ready_within_s = 180.0  # a third of a minute where nothing else runs

    def __init__(self, *options: str) -> None:
        self._mark = f"CHAINRULE_DEMO_MARK={uuid.uuid4().hex}"
        self._folder = tempfile.TemporaryDirectory(prefix="chainrule-", ignore_cleanup_errors=True)
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.log = Path(self._folder.name) / "service.log"
        self.data_dir = Path(self._folder.name) / "data"
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process is not None and self._process.poll() is None:
                self.end()
            self.kill_all()
        finally:
            self._folder.cleanup()

    @property
    def process_id(self) -> int:
        """That of the service itself."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts the process; returns before it answers."""
        command = [str(Path(sys.executable).with_name("chainrule")), "serve", "--host", "127.0.0.1"]
        command += ["--port", self.url.rpartition(":")[2], "--data-dir", str(self.data_dir)]
        # Room for two workers, also where there is but one core, and no more: a process that is started anew takes
        # seconds, one that a job has left is used again.
        command += ["--cpus", "2", *self._options]
        name, _, value = self._mark.partition("=")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which then stops the service itself
            )

    def kill(self) -> None:
        """Kills the service's own process by SIGKILL; those that it started are not told."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_all(self) -> None:
        """Kills every process that came from the service by SIGKILL."""
        kill_marked(self._mark, self.data_dir / "ray")
        if self._process is not None:
            self._process.wait()

    def wait_until_ready(self) -> None:
        """Returns when the service takes jobs. Raises ServiceFailed."""
        deadline = time.monotonic() + self.ready_within_s
        with Client(self.url, timeout_s=5.0) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    raise ServiceFailed(f"the service ended while it started\n{self.log_tail()}")
                try:
                    if client.ready():
                        return
                except (Unreachable, Unavailable):
                    pass  # not listening yet
                time.sleep(0.05)
        why = f"the service was not ready within {self.ready_within_s:g} s, as where much else runs; its log ends with"
        raise ServiceFailed(f"{why}\n{self.log_tail()}")

    def stop(self) -> float:
        """Asks the service to end by SIGTERM; returns the seconds it took. Raises ServiceFailed if it does not end in
        time, fails, or leaves a process behind."""
        assert self._process is not None
        began = time.monotonic()
        code = self.end()
        took_s = time.monotonic() - began
        if code not in (0, -signal.SIGTERM):  # a server that has shut down may pass the signal on to itself
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise ServiceFailed(f"the service ended {how}, expected exit code 0\n{self.log_tail()}")
        if took_s > STOPS_WITHIN_S:
            raise ServiceFailed(f"the service took {took_s:.1f} s to end, expected {STOPS_WITHIN_S:g} at most")
        if left := self.processes():
            raise ServiceFailed(f"the service left processes behind: {', '.join(map(str, left))}\n{self.log_tail()}")
        return took_s

    def end(self) -> int:
        """Asks the service to end by SIGTERM, kills it if it does not, and returns its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(3 * STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    def processes(self) -> list[int]:
        """Ids of the live processes that came from this service (where there is no /proc: of its group)."""
        if not Path("/proc/self/environ").exists():
            return self._group()
        return marked_processes(self._mark, self.data_dir / "ray")

    def _group(self) -> list[int]:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return []
        return [self._process.pid]

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the service's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def marked_processes(mark: str, folder: Path | None = None) -> list[int]:
    """Ids of the live processes that began with `mark`, a NAME=value, in their environment: all that a process with it
    starts inherit it, whatever group they move to. Some of Ray's overwrite theirs by a title; they write into `folder`.
    """
    alive = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark.encode() in (process / "environ").read_bytes() or (folder and _writes_into(process, folder)):
                alive.append(int(process.name))
    return [process_id for process_id in alive if process_id != os.getpid()]


def _writes_into(process: Path, folder: Path) -> bool:
    files = (file for file in (process / "fd").iterdir() if file.lstat().st_mode & stat.S_IWUSR)
    return any(file.readlink().is_relative_to(folder) for file in files)


def kill_marked(mark: str, folder: Path | None = None) -> None:
    """Kills by SIGKILL every process that `marked_processes` finds, until there is none."""
    while process_ids := marked_processes(mark, folder):
        for process_id in process_ids:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process_id, signal.SIGKILL)
        time.sleep(0.01)  # they are not our children: there is nothing to wait on


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
