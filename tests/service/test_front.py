"""The servers in front, as deploy/ sets them up: events and uploads pass at once, too much and too slowly does not."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from service.connection import Connection, Patience
from support.running_service import free_port
from support.service_in_process import CSV, WITHIN_S, Service

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HASTY = Patience(head_within_s=0.4, body_window_s=0.4, looks_every_s=0.05)
NGINX = """daemon off; worker_processes 1; pid {folder}/pid; error_log stderr notice; events {{ }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; {site} }}"""  # the rest of what Debian's nginx is set up with


class HastyConnection(Connection):
    patience = HASTY


def installed(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"no {program} is installed: apt-get install caddy nginx-light")
    return found


@contextmanager
def caddy(port: int, upstream: str, folder: Path) -> Iterator[None]:
    """Caddy, as deploy/Caddyfile sets it up, but without TLS."""
    home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
    settings = {"CHAINRULE_SITE": f"http://127.0.0.1:{port}", "CHAINRULE_UPSTREAM": upstream}
    command = [installed("caddy"), "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    with running(command, {**os.environ, **home, **settings}, "serving initial configuration"):
        yield


@contextmanager
def nginx(port: int, upstream: str, folder: Path) -> Iterator[None]:
    """nginx, as deploy/nginx.conf sets it up, but without TLS."""
    site = (DEPLOY / "nginx.conf").read_text().replace("127.0.0.1:8400", upstream)
    site = re.sub(r"(?m)^ *ssl_.*$", "", site.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};"))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=site))
    command = [installed("nginx"), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    with running(command, dict(os.environ), "start worker process "):
        yield


@contextmanager
def running(command: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    """A server, from the line that says it is ready."""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any(ready in line for line in process.stderr)
            yield
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(params=[caddy, nginx])
def front(request: pytest.FixtureRequest, service: Service, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client that speaks to the service through the server in front."""
    port = free_port()
    headers = {"Authorization": f"Bearer {service.key}"}
    with request.param(port, f"127.0.0.1:{service.http.base_url.port}", tmp_path):
        site = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=site, headers=headers, timeout=WITHIN_S, trust_env=False) as client:
            yield client


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
    assert front.get("/healthz", headers={"X": "x" * (32 << 10)}).status_code in (400, 431)
    assert front.get("/" + "x" * (9 << 10)).status_code == 414


@pytest.mark.parametrize("head", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_comes_byte_by_byte_is_let_go_by_nginx_as_by_the_service(tmp_path: Path, head: str) -> None:
    """Before a service of little patience: what the server in front adds to it is what is asked."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    listening, port = socket.create_server(("127.0.0.1", 0)), free_port()
    config = uvicorn.Config(app, http=HastyConnection, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        with nginx(port, f"127.0.0.1:{listening.getsockname()[1]}", tmp_path):
            found, took_s = drip(port, head, every_s=0.1)
    finally:
        server.should_exit = True
        thread.join(WITHIN_S)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert took_s < WITHIN_S / 2


def drip(port: int, head: str, every_s: float) -> tuple[bytes, float]:
    """What comes back for a body of which a byte is sent now and then, and the seconds until that is closed."""
    began, found = time.monotonic(), b""
    byte = b"x" if "Length" in head else b"1\r\nx\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=every_s) as client:
        client.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        while time.monotonic() - began < 2 * WITHIN_S:
            try:
                client.sendall(byte)
                if not (got := client.recv(1 << 16)):
                    break
                found += got
                time.sleep(every_s)
            except TimeoutError:
                continue
            except OSError:
                break
    return found, time.monotonic() - began
