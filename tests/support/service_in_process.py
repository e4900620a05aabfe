"""A service in this process, on a loopback port, whose cluster is the test's own."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import uvicorn

from service.app import create_app
from service.connection import Connection
from service.control import ControlPlane
from service.database import DEFAULT_TENANT
from service.jobs import JobState
from service.readers import Readers
from service.settings import Settings
from support.databases import migrated

WITHIN_S = 20.0

CSV = b"a,b,kind,y\n" + b"".join(
    f"{i},{i * i % 7},{'odd' if i % 2 else 'even'},{3 * i + 1}\n".encode() for i in range(1, 41)
)
SPEC: dict[str, Any] = {"dataset": "numbers", "target": "y", "epochs": 2, "batch_size": 10, "workers": 1}
READERS = Readers()  # of all services in this process; they end with it


class Service:
    """A service in this process, on a loopback port, and what tests do with it again and again. `http` has its admin
    key as soon as the service has opened its database, which has its tables already where the folder is new."""

    def __init__(self, settings: Settings, cluster: Any) -> None:
        self.cluster = cluster
        if not settings.data_dir.exists() and settings.database_url is None:
            settings.data_dir.mkdir(mode=0o700)
            (settings.data_dir / "chainrule.sqlite3").write_bytes(migrated())
        self.app = create_app(settings, lambda: cluster, readers=READERS)
        self.control: ControlPlane = self.app.state.control
        listening = socket.create_server(("127.0.0.1", 0))  # connections wait in its queue until the server is there
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, http=Connection, ws="none", log_config=None, access_log=False)
        )
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.http = self.client(auth=self._with_key)

    def client(self, **options: Any) -> httpx.Client:
        """One more client, without a key. Certificates, of which there are none here, it does not load: for each client
        that would take longer than most tests."""
        return httpx.Client(base_url=self.url, timeout=WITHIN_S, trust_env=False, verify=False, **options)

    @property
    def key(self) -> str:
        """The admin key that the first start made."""
        return (self.control.folder.path / "admin.key").read_text().strip()

    def _with_key(self, request: httpx.Request) -> httpx.Request:
        if (self.control.folder.path / "admin.key").exists():
            request.headers.setdefault("Authorization", f"Bearer {self.key}")
        return request

    def stop(self) -> None:
        """Ends it as SIGTERM does. Repeating is harmless."""
        self.http.close()
        self.control.begin_stop()
        self._server.should_exit = True
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive(), "the service has not ended; a request of it has not"

    def left(self) -> list[str]:
        """What lies in the data folder besides the database, the lock and jobs."""
        folder = self.control.folder
        return [path.name for part in (folder.datasets, folder.uploads) for path in part.iterdir()]

    def upload(self, name: str = "numbers", content: bytes = CSV, **query: str) -> dict[str, Any]:
        headers = {"Content-Type": "text/csv"}
        answer = self.http.post("/v1/datasets", params={"name": name, **query}, headers=headers, content=content)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def submit(self, **changes: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/jobs", json={**SPEC, **changes})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def history(self, job_id: str) -> list[str]:
        return [item["to"] for item in self.http.get(f"/v1/jobs/{job_id}/history").json()["items"]]

    def act(self, job_id: str, verb: str) -> dict[str, Any]:
        answer = self.http.post(f"/v1/jobs/{job_id}/{verb}")
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def until(self, job_id: str, state: JobState | str, times: int = 1) -> dict[str, Any]:
        """Waits until the job has moved into `state` so many times, and returns it."""

        async def wait() -> None:
            left = times
            async for events in self.control.feeds.stream(DEFAULT_TENANT, job_id, 0):
                left -= events.count(f'"to": "{state}"'.encode())
                if left <= 0:
                    return
            raise AssertionError(f"the job ended: {self.job(job_id)}")

        asyncio.run(asyncio.wait_for(wait(), WITHIN_S))
        return self.job(job_id)


Start = Callable[..., Service]
"""Starts a service, after the one before has been stopped, on the same data folder."""
