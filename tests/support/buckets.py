"""S3-compatible servers in this process, on loopback."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
from moto.server import ThreadedMotoServer

BUCKET = "checkpoints"
URL = f"s3://{BUCKET}/team-a"


class BucketServer:
    """It has one bucket, and can go away, which it does not mind to be told again."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.variables = _variables(*self._server.get_host_and_port())

    def start_anew(self) -> None:
        """Has one empty bucket; moto's are the process's, whichever server made them."""
        httpx.post(f"{self.variables['AWS_ENDPOINT_URL']}/moto-api/reset").raise_for_status()
        self.client().create_bucket(Bucket=BUCKET)

    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.variables["AWS_ENDPOINT_URL"])

    def objects(self) -> list[str]:
        return [each["Key"] for each in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def go_away(self) -> None:
        self._server.stop()


class _CutsOff(BaseHTTPRequestHandler):
    """Breaks off each body that is asked for after its first bytes."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"cut off")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """A server that the environment's variables lead to."""
    server = BucketServer()
    with _environment(server.variables):
        try:
            server.start_anew()
            yield server
        finally:
            server.go_away()


@contextmanager
def server_that_cuts_off() -> Iterator[None]:
    """Likewise, one whose connections break in the middle of each body."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _CutsOff) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with _environment(_variables("127.0.0.1", server.server_port)):
                yield
        finally:
            server.shutdown()
            thread.join()


def _variables(host: str, port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
