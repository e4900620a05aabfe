"""A Chainrule service of one's own for a while: started in a temporary folder, stopped with all that it started."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

from chainrule import Client, Unavailable, Unreachable

READY_WITHIN_S = 60.0
STOPS_WITHIN_S = 10.0


class ServiceFailed(Exception):
    """The service did not start, or did not stop, as it should; the message holds the end of its log."""


class ServiceProcess:
    """`chainrule serve` on a free loopback port; a context manager that leaves neither process nor file behind."""

    def __init__(self) -> None:
        # Every process that the service starts inherits this from its environment, whatever group it moves to.
        self._mark = f"CHAINRULE_DEMO_MARK={uuid.uuid4().hex}"
        self._folder = tempfile.TemporaryDirectory(prefix="chainrule-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "service.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{_free_port()}"

    def __enter__(self) -> "ServiceProcess":
        command = [str(Path(sys.executable).with_name("chainrule")), "serve", "--host", "127.0.0.1"]
        command += ["--port", self.url.rpartition(":")[2], "--data-dir", str(Path(self._folder.name) / "data")]
        # Room for two workers, also where there is but one core, and no more: a process that is started anew takes
        # seconds, one that a job has left is used again.
        command += ["--cpus", "2"]
        name, _, value = self._mark.partition("=")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which then stops the service itself
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process is not None and self._process.poll() is None:
                self._end()
        finally:
            self._folder.cleanup()

    def wait_until_ready(self) -> None:
        """Returns when the service takes jobs. Raises ServiceFailed."""
        deadline = time.monotonic() + READY_WITHIN_S
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
        raise ServiceFailed(f"the service was not ready within {READY_WITHIN_S:g} s\n{self.log_tail()}")

    def stop(self) -> float:
        """Asks the service to end by SIGTERM; returns the seconds it took. Raises ServiceFailed if it does not end in
        time, fails, or leaves a process behind."""
        assert self._process is not None
        began = time.monotonic()
        code = self._end()
        took_s = time.monotonic() - began
        if code not in (0, -signal.SIGTERM):  # a server that has shut down may pass the signal on to itself
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise ServiceFailed(f"the service ended {how}, expected exit code 0\n{self.log_tail()}")
        if took_s > STOPS_WITHIN_S:
            raise ServiceFailed(f"the service took {took_s:.1f} s to end, expected {STOPS_WITHIN_S:g} at most")
        if left := self.processes():
            raise ServiceFailed(f"the service left processes behind: {', '.join(map(str, left))}\n{self.log_tail()}")
        return took_s

    def _end(self) -> int:
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
        alive = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self._mark.encode() in environ.read_bytes():
                    alive.append(int(environ.parent.name))
            except OSError:
                continue  # it has ended, or is another user's
        return alive

    def _group(self) -> list[int]:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return []
        return [self._process.pid]

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the service's log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
