"""The servers in front, as deploy/ sets them up: events and uploads pass at once, too much and too slowly does not."""

import asyncio
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
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.connection import Connection, Patience
from service.settings import Settings
from support.running_service import free_port
from support.service_in_process import CSV, WITHIN_S, Service, Start

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SITE = "train.example.org"
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
def caddy(port: int, upstream: str, folder: Path, site: str = "127.0.0.1") -> Iterator[None]:
    """Caddy, as deploy/Caddyfile sets it up, but without TLS."""
    home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
    settings = {"CHAINRULE_SITE": f"http://{site}:{port}", "CHAINRULE_UPSTREAM": upstream}
    command = [installed("caddy"), "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    with running(command, {**os.environ, **home, **settings}, "serving initial configuration"):
        yield


@contextmanager
def nginx(port: int, upstream: str, folder: Path, site: str = "127.0.0.1") -> Iterator[None]:
    """nginx, as deploy/nginx.conf sets it up, but without TLS."""
    text = (DEPLOY / "nginx.conf").read_text().replace("127.0.0.1:8400", upstream).replace(SITE, site)
    text = re.sub(r"(?m)^ *ssl_.*$", "", text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};"))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=text))
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


def composed(variable: str, **dot_env: str) -> str:
    """A variable of the control plane, as docker-compose.yml sets it with these in `.env`."""
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    text: str = composition["services"]["control-plane"]["environment"][variable]
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: dot_env.get(found[1]) or found[2], text)


@pytest.mark.parametrize("server", [caddy, nginx])
def test_the_public_name_is_one_that_the_service_answers_to(
    server: Any, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/front.md has it: the composition makes the name known by itself."""
    monkeypatch.setenv("CHAINRULE_ALLOWED_HOST", composed("CHAINRULE_ALLOWED_HOST", CHAINRULE_SITE=SITE))
    service, port = start(), free_port()
    with server(port, f"127.0.0.1:{service.http.base_url.port}", tmp_path, SITE):
        headers = {"Authorization": f"Bearer {service.key}", "Host": SITE, "Origin": f"https://{SITE}"}
        address = f"http://127.0.0.1:{port}/v1/session"
        answer = httpx.post(address, headers=headers, timeout=WITHIN_S, trust_env=False)
    assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=31536000"), answer.text


def test_without_a_public_name_the_composition_allows_its_own_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_ALLOWED_HOST", composed("CHAINRULE_ALLOWED_HOST"))
    assert Settings().allowed_host == ("control-plane",)


def test_in_the_composition_too_the_cookie_is_for_tls_alone(service: Service) -> None:
    """Its Caddy speaks to the service from another container, whose address nobody knows before."""
    believing = ProxyHeadersMiddleware(service.app, composed("FORWARDED_ALLOW_IPS"))  # as uvicorn reads it
    headers = {"Authorization": f"Bearer {service.key}", "X-Forwarded-Proto": "https"}

    async def sign_in() -> httpx.Response:
        transport = httpx.ASGITransport(believing, client=("172.18.0.5", 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            return await client.post("/v1/session")

    assert "Secure" in asyncio.run(sign_in()).headers["set-cookie"]


def test_events_pass_at_once(front: httpx.Client, service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().obey()
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
