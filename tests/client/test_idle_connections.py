"""A connection that the service may close in this very moment takes no request: its answer would be lost."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import uvicorn

from chainrule import Client, connection


class _Answers(BaseHTTPRequestHandler):
    """Answers all with an empty page, and keeps the connection."""

    protocol_version = "HTTP/1.1"
    connections: int

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def setup(self) -> None:
        super().setup()
        type(self).connections += 1

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    _Answers.connections = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("kept_s", "connections"), [(0.0, 2), (60.0, 1)])
def test_a_connection_is_used_again_only_while_the_service_surely_keeps_it(
    url: str, monkeypatch: pytest.MonkeyPatch, kept_s: float, connections: int
) -> None:
    monkeypatch.setattr(connection, "KEPT_S", kept_s)
    with Client(url, key="a-key") as client:
        for _ in range(2):
            client.send_json("POST", "/v1/jobs", {"dataset": "d"})
    assert _Answers.connections == connections


def test_the_service_keeps_idle_connections_longer_than_the_client() -> None:
    assert uvicorn.Config("app").timeout_keep_alive > connection.KEPT_S
