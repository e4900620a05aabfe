"""Checkpoints in an S3-compatible bucket, through fsspec: an object is there once all of it has arrived."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientError
from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError
from s3fs import S3FileSystem

from workers.disk import Parts
from workers.storage import StorageAway

__all__ = ["Bucket"]

PART_BYTES = 5 << 20  # the least that S3 takes as a part; each is copied while nothing else in the process can run
WRITE_BYTES = 1 << 18
TRIES = 2  # for a request, on top of botocore's own; who writes a checkpoint tries again anyway
CLIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 1}}


class Bucket:
    """Objects below `s3://bucket/prefix`. Credentials and endpoint are looked for where AWS's own tools do."""

    def __init__(self, url: str) -> None:
        self._prefix = url.removeprefix("s3://").rstrip("/")
        self._system = S3FileSystem(config_kwargs=CLIENT, use_listings_cache=False, skip_instance_cache=True)
        self._system.retries = TRIES

    def names(self) -> list[str]:
        with _told():
            try:
                found: list[str] = self._system.ls(self._prefix, detail=False)
            except FileNotFoundError:
                if "/" not in self._prefix:
                    raise
                return []  # a prefix is there once something is below it
        return [path.rpartition("/")[2] for path in found]

    def read(self, name: str) -> bytes:
        with _told():
            content: bytes = self._system.cat_file(self._at(name))
        return content

    def write(self, name: str, parts: Parts) -> None:
        with _told():
            file = self._system.open(self._at(name), "wb", block_size=PART_BYTES)
            try:
                for part in parts:
                    for first in range(0, len(part), WRITE_BYTES):
                        file.write(part[first : first + WRITE_BYTES])
                file.close()
            except BaseException:
                file.closed = True  # else its finalizer would complete what is not whole
                file.discard()
                raise

    def remove(self, name: str) -> None:
        with _told():
            self._system.rm_file(self._at(name))

    def clear(self) -> None:
        for name in self.names():
            self.remove(name)

    def _at(self, name: str) -> str:
        return f"{self._prefix}/{name}"


@contextmanager
def _told() -> Iterator[None]:
    """Whatever keeps us from asking the bucket is StorageAway; that it does not have an object is not."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageAway(f"the bucket answers: {error.strerror or type(error).__name__}") from error
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        # EndpointConnectionError, NoCredentialsError and their like; a body that breaks off is aiohttp's
        # ClientPayloadError, and an answer that is no S3 server's, as of a proxy, makes no sense to botocore's parser
        raise StorageAway(f"the bucket cannot be asked: {type(error).__name__}") from error
