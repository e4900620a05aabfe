"""An S3-compatible server in this process, on loopback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
        host, port = self._server.get_host_and_port()
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

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


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """A server that the environment's variables lead to."""
    server = BucketServer()
    before = dict(os.environ)
    os.environ.update(server.variables)
    try:
        server.start_anew()
        yield server
    finally:
        server.go_away()
        os.environ.clear()
        os.environ.update(before)
