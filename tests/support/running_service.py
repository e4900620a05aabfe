"""A real service in a process of its own, spoken to over REST alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "examples" / "data"
READY_WITHIN_S = 90.0
ENDS_WITHIN_S = 180.0


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningService:
    """`chainrule serve` with its own port and data folder; `start` may follow `kill` to see what survives."""

    def __init__(
        self, folder: Path, cpus: int, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder, self._cpus, self._options = folder, cpus, options
        self.data_dir = folder / "data"
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), **(environment or {})}
        """Of the service, and of who is to find it."""
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RunningService":
        port = free_port()
        command = Path(sys.executable).with_name("chainrule")
        log = (self._folder / "service.log").open("ab")
        self._process = subprocess.Popen(
            [command, "serve", "--port", str(port), "--data-dir", self.data_dir, *self._options],
            env={**self.environment, "CHAINRULE_CPUS": str(self._cpus), "CHAINRULE_TEST_MARK": self._mark},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0)
        self._until("/healthz", 20.0)
        return self

    def until_ready(self) -> "RunningService":
        self._until("/readyz", READY_WITHIN_S)
        self.http.headers["Authorization"] = f"Bearer {self.key}"
        return self

    @property
    def key(self) -> str:
        """Its admin key."""
        return (self.data_dir / "admin.key").read_text().strip()

    def _until(self, path: str, within_s: float) -> None:
        """Asks again until the answer is 200: a process that is starting has no event to wait for."""
        deadline = time.monotonic() + within_s
        answer = "no answer"
        while time.monotonic() < deadline:
            assert self._process is not None and self._process.poll() is None, self.log()
            try:
                response = self.http.get(path)
                if response.status_code == 200:
                    return
                answer = response.text
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} was not 200 within {within_s} s: {answer}\n{self.log()}")

    def log(self) -> str:
        return (self._folder / "service.log").read_text(errors="replace")[-5000:]

    def kill(self) -> None:
        """SIGKILL to the service alone, as when the machine's memory runs out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        self.http.close()

    def stop(self) -> float:
        """SIGTERM; returns the seconds until the process had ended."""
        assert self._process is not None
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)
                raise
        self.http.close()
        took_s = time.monotonic() - began
        assert self._process.returncode == 0, f"exit code {self._process.returncode}\n{self.log()}"
        return took_s

    def processes(self) -> dict[int, str]:
        """All live processes that came from this service, by id, with their titles: they inherit a mark."""
        alive = {}
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self._mark.encode() in environ.read_bytes():
                    title = (environ.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    alive[int(environ.parent.name)] = title.strip()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return alive

    # ------------------------------------------------------------ REST
    def upload(self, name: str, path: Path, **query: str) -> dict[str, Any]:
        suffixes = "".join(path.suffixes)
        types = {".csv": "text/csv", ".csv.gz": "text/csv", ".npz": "application/x-npz"}
        headers = {"Content-Type": types[suffixes]} | ({"Content-Encoding": "gzip"} if suffixes == ".csv.gz" else {})
        response = self.http.post(
            "/v1/datasets", params={"name": name, **query}, headers=headers, content=path.read_bytes()
        )
        assert response.status_code in (200, 201), response.text
        return dict(response.json())

    def submit(self, **spec: Any) -> dict[str, Any]:
        response = self.http.post("/v1/jobs", json=spec)
        assert response.status_code == 202, response.text
        return dict(response.json())

    def job(self, job_id: str) -> dict[str, Any]:
        response = self.http.get(f"/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The job's events from its first one on, until the stream ends with the job."""
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=ENDS_WITHIN_S) as response:
            assert response.status_code == 200
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event:"):
                    kind = line.removeprefix("event:").strip()
                elif line.startswith("data:"):
                    yield kind, json.loads(line.removeprefix("data:"))

    def until(self, job_id: str, state: str) -> dict[str, Any]:
        """Waits for the job's move into `state` and returns the job then."""
        for kind, data in self.events(job_id):
            if kind == "state" and data["to"] == state and self.job(job_id)["state"] == state:
                break
        job = self.job(job_id)
        assert job["state"] == state, f"{job}\n{self.log()}"
        return job

    def trained(self, **spec: Any) -> dict[str, Any]:
        """Submits a job and returns it once it has succeeded."""
        return self.until(self.submit(**spec)["id"], "succeeded")

    def predict(self, job_id: str, rows: list[dict[str, Any]]) -> list[Any]:
        response = self.http.post(f"/v1/jobs/{job_id}/predict", json={"rows": rows})
        assert response.status_code == 200, response.text
        return [prediction["value"] for prediction in response.json()["predictions"]]

    def act(self, job_id: str, verb: str) -> None:
        response = self.http.post(f"/v1/jobs/{job_id}/{verb}")
        assert response.status_code == 202, response.text
