"""Sends one webhook: one POST to an address that was checked, and never to another one.

httpcore follows no redirects, unpacks nothing, keeps no cookies, and asks the environment for no proxy. The rest is
done at its seam, the network backend: the name is resolved there once, all its addresses are checked, and the
connection goes to one of them, with TLS for the name. So a name that leads elsewhere a moment later (DNS rebinding)
leads nowhere.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import httpcore

from service.webhooks.retries import Answer
from service.webhooks.targets import PORTS, AddressRefused, Rules, Target
from shared.errors import InvalidInput

__all__ = ["ANSWERS_WITHIN_S", "MAX_BODY_BYTES", "Resolve", "Sender", "default_tls", "resolved"]

ANSWERS_WITHIN_S = 10.0  # from the first packet to the head of the answer
MAX_BODY_BYTES = 2048
MAX_ADDRESSES = 3  # of a name, that are tried one after the other

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host and port, numeric. Raises OSError."""

FAILURES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError)


def resolved(host: str, port: int) -> Sequence[str]:
    """What the machine's resolver says, each address once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Sender:
    """Sends to where `rules` allow. `resolve`, `tls` and `within_s` are the seams for tests."""

    def __init__(
        self,
        rules: Rules,
        resolve: Resolve = resolved,
        tls: ssl.SSLContext | None = None,
        within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._rules, self._resolve, self._within_s = rules, resolve, within_s
        self._given_tls = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when something is first sent: it takes a tenth of a second, of which most services have no need."""
        return self._given_tls or default_tls()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Sends `body` and returns how that ended; raises nothing that the receiver could bring about."""
        began = time.monotonic()
        try:
            target = self._rules.target(url)  # again: what is allowed may have changed
            return self._exchange(target, headers, body, began)
        except InvalidInput as refused:
            error = f"this service may not send there any more: expected {refused.errors[0].expected}"
        except AddressRefused as refused:
            error = str(refused)
        except FAILURES as failure:
            error = _words(failure, self._within_s)
        return Answer(time.monotonic() - began, error=error)

    def _exchange(self, target: Target, headers: Mapping[str, str], body: bytes, began: float) -> Answer:
        line = _Line(target, self._rules, self._resolve, began + self._within_s)
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        all_headers = {"Host": _host_header(target), **headers, "Connection": "close"}
        with (
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=line) as pool,
            pool.stream("POST", url, headers=list(all_headers.items()), content=body) as response,
        ):
            duration_s = time.monotonic() - began
            told = _beginning(response.iter_stream())
        names = {name.lower(): value for name, value in response.headers}
        return Answer(duration_s, response.status, body=told, retry_after_s=_seconds(names.get(b"retry-after", b"")))


class _Line(httpcore.NetworkBackend):
    """The connection of one exchange, all of which must be over at `deadline` by the monotonic clock."""

    def __init__(self, target: Target, rules: Rules, resolve: Resolve, deadline: float) -> None:
        self._target, self._rules, self._resolve, self._deadline = target, rules, resolve, deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._rules.check(self._target, self._resolve(self._target.host, self._target.port))
        failure: Exception | None = None
        for address in addresses[:MAX_ADDRESSES]:
            try:
                stream = self._backend.connect_tcp(address, self._target.port, _left(self._deadline))
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = failure or error
        assert failure is not None
        raise failure


class _Stream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline: a byte now and then gains a receiver no time."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout
    return left_s


def default_tls() -> ssl.SSLContext:
    """The authorities that httpcore brings, and those of the machine, or of SSL_CERT_FILE: a company's own."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


def _host_header(target: Target) -> str:
    default = PORTS[target.scheme] == target.port
    return target.authority.rpartition(":")[0] if default else target.authority


def _beginning(pieces: Iterable[bytes]) -> str:
    """The beginning of an answer's body, as text that can be stored. The answer counts by its head: that the rest
    breaks off does not matter."""
    read = b""
    with suppress(*FAILURES):
        for piece in pieces:
            read += piece
            if len(read) >= MAX_BODY_BYTES:
                break
    text = read[:MAX_BODY_BYTES].decode("utf-8", "replace")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "�", text)


def _seconds(retry_after: bytes) -> float | None:
    """`Retry-After` in seconds; the form with a date is rare, and not worth trusting another machine's clock."""
    return float(retry_after) if re.fullmatch(rb"[0-9]{1,9}", retry_after) else None


def _words(failure: Exception, within_s: float) -> str:
    match failure:
        case socket.gaierror():
            return f"the host's name could not be resolved: {failure.strerror}"
        case httpcore.TimeoutException():
            return f"no answer within {within_s:g} s"
        case httpcore.ProtocolError():
            return f"what was answered is no HTTP: {failure}"
    return f"the connection failed: {failure}"[:300]
