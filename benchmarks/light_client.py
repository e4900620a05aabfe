"""A client of HTTP/1.1 that takes little of the CPU: for measuring services that run on the same cores.

Connections are kept open, requests are bytes that were made before, and of answers only what is needed is read. It
speaks to our own service, which sends bodies with a length and event streams in chunks.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from benchmarks.records import BenchmarkFailed

__all__ = ["Answer", "Connection", "Listener", "Place", "ask_once", "request"]

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
EVENT = re.compile(rb"^id: (\d+)$", re.MULTILINE)


class Place(NamedTuple):
    """Where a service is, and the key that opens it."""

    url: str
    key: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None and parts.port is not None
        return parts.hostname, parts.port


class Answer(NamedTuple):
    """What came back, and how long that took."""

    status: int
    took_s: float
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(place: Place, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
    """A request as it is sent."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(place.url).netloc}", f"Authorization: Bearer {place.key}"]
    content = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connection(asyncio.Protocol):
    """One connection, for one request after the other."""

    def __init__(self) -> None:
        self._received = b""
        self._waiting: asyncio.Future[Answer] | None = None
        self._began = 0.0

    @classmethod
    async def open(cls, place: Place) -> Self:
        """A connection to the service."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, *place.address)
        return connection

    async def ask(self, request: bytes) -> Answer:
        """Sends a request and returns the answer. Raises BenchmarkFailed when the connection is broken, or breaks: the
        service closes one on which nothing came for 5 s."""
        if self._transport.is_closing():
            raise BenchmarkFailed("a connection had been closed before it was used again")
        self._waiting = asyncio.get_running_loop().create_future()
        self._began = time.perf_counter()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Closes it."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = LENGTH.search(head)
        if length is None or len(body) < int(length[1]) or self._waiting is None:
            return
        took_s, self._received = time.perf_counter() - self._began, b""
        self._waiting.set_result(Answer(int(head[9:12]), took_s, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(BenchmarkFailed(f"a connection broke before its answer: {exc}"))


async def ask_once(place: Place, request: bytes) -> Answer:
    """Sends a request over a connection of its own."""
    connection = await Connection.open(place)
    answer = await connection.ask(request)
    connection.close()
    return answer


class Listener(asyncio.Protocol):
    """One event stream; `hears(numbers)` is called with the numbers of the events that have come, as they do."""

    def __init__(self, hears: Callable[[Iterable[int]], None]) -> None:
        self._hears = hears
        self._rest = b""
        self.status = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, place: Place, job_id: str, hears: Callable[[Iterable[int]], None]) -> Self:
        """Listens to a job from its first event on."""
        loop = asyncio.get_running_loop()
        transport, listener = await loop.create_connection(lambda: cls(hears), *place.address)
        transport.write(request(place, "GET", f"/v1/jobs/{job_id}/events"))
        return listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        lines, _, self._rest = (self._rest + data).rpartition(b"\n")
        self.status = self.status or int(lines[9:12])
        numbers = [int(number) for number in EVENT.findall(lines)]
        if numbers:
            self._hears(numbers)
        if data.endswith(LAST_CHUNK):
            self._transport.close()  # the service would keep the connection for another request

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
