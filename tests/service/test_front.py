"""The server in front, as deploy/Caddyfile sets it up: events and uploads pass at once, too much does not."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.running_service import free_port
from support.service_in_process import CSV, WITHIN_S, Service

CADDYFILE = Path(__file__).resolve().parents[2] / "deploy" / "Caddyfile"


@pytest.fixture
def front(service: Service, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client that speaks to the service through Caddy."""
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("no Caddy is installed: apt-get install caddy")
    site = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "CHAINRULE_SITE": site,
        "CHAINRULE_UPSTREAM": f"127.0.0.1:{service.http.base_url.port}",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    command = [caddy, "run", "--adapter", "caddyfile", "--config", CADDYFILE]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("serving initial configuration" in line for line in process.stderr)
            headers = {"Authorization": f"Bearer {service.key}"}
            with httpx.Client(base_url=site, headers=headers, timeout=WITHIN_S, trust_env=False) as client:
                yield client
        finally:
            process.terminate()
            process.communicate()


def test_events_pass_at_once(front: httpx.Client, service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().obeys.set()
    with front.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        assert any('"to": "running"' in line for line in lines)
        service.act(job_id, "cancel")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_an_upload_passes_without_a_length_too(front: httpx.Client, service: Service) -> None:
    pieces = (CSV[start : start + 100] for start in range(0, len(CSV), 100))
    answer = front.post("/v1/datasets", params={"name": "x"}, headers={"Content-Type": "text/csv"}, content=pieces)
    assert answer.json()["size_bytes"] == len(CSV)


def test_heads_have_limits_in_front_too(front: httpx.Client) -> None:
    assert front.get("/healthz", headers={"X": "x" * (32 << 10)}).status_code == 431
    assert front.get("/" + "x" * (9 << 10)).status_code == 414
