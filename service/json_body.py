"""Reading a request's JSON strictly: what is not plain, unambiguous JSON is refused before anything looks at it."""

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from service.auth import authenticate
from service.concurrency import ConcurrencyLimit
from shared.errors import InvalidInput, MalformedInput, TooLarge, UnsupportedMedia

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_ROWS_BYTES",
    "JsonBody",
    "RowsBody",
    "is_short",
    "parse_json",
    "read_code",
    "read_json",
]

MAX_BODY_BYTES = 1 << 20
MAX_ROWS_BYTES = 32 << 20
MAX_CODE_BYTES = 4 << 10
MAX_DEPTH = 32
SMALL_BYTES = 16 << 10  # parsed in less time than handing them to a thread takes
PIECE_BYTES = 64 << 10  # parsed at once, while all other threads wait: some milliseconds

# Possessive, and content with a string that the body's end cuts off: one pass over whatever is sent, never n².
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _reader(max_bytes: int) -> Callable[[Request], Awaitable[Any]]:
    """A dependency that reads JSON of at most `max_bytes`. It raises UnsupportedMedia, TooLarge or MalformedInput, and
    Unauthorized where the key that came with the request is no longer good."""

    async def read(request: Request) -> Any:
        _check_headers(request, max_bytes)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise TooLarge(f"got a body of more than {max_bytes:,} bytes, expected at most that many")
        request.state.body_bytes = len(body)
        async with _turn(request, len(body)):
            if request.state.principal is not None:
                await authenticate(request)  # a body may come for many minutes
            if len(body) <= SMALL_BYTES:
                return parse_json(bytes(body))
            return await run_in_threadpool(parse_json, bytes(body))

    return read


read_json = _reader(MAX_BODY_BYTES)
"""The JSON of a request's body."""

read_code = _reader(MAX_CODE_BYTES)
"""The same where anybody may send one, without a key: what checks it holds up nobody."""

JsonBody = Annotated[Any, Depends(read_json)]
"""An endpoint's parameter that takes the body's JSON."""

RowsBody = Annotated[Any, Depends(_reader(MAX_ROWS_BYTES))]
"""The same for bodies that carry data: 10,000 images of 28 × 28 are about 25 MiB of JSON."""


def is_short(request: Request) -> bool:
    """Whether the body that was read is no longer than what is parsed in a moment."""
    size_bytes: int = request.state.body_bytes
    return size_bytes <= SMALL_BYTES


def _turn(request: Request, size_bytes: int) -> AbstractAsyncContextManager[None]:
    """A turn to parse a body: long ones of a tenant one after the other."""
    if size_bytes <= MAX_BODY_BYTES:
        return nullcontext()
    turns: ConcurrencyLimit = request.app.state.control.long_bodies
    return turns.of(request.state.principal.tenant)


def _check_headers(request: Request, max_bytes: int) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        got = request.headers.get("content-type") or "no Content-Type"
        raise UnsupportedMedia(f"got {got[:100]}, expected Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("got a compressed body, expected plain JSON")
    length = request.headers.get("content-length", "0")
    if len(length) > 15 or (length.isascii() and length.isdigit() and int(length) > max_bytes):
        raise TooLarge(f"got a body of {length[:30]} bytes, expected at most {max_bytes:,}")


def parse_json(body: bytes) -> Any:
    """The value that `body` holds. NaN and infinities pass, for those who check the value to name their field.

    Raises MalformedInput for anything but UTF-8 JSON, nested at most 32 deep, without duplicate keys.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedInput.of("body", f"a wrong byte at position {error.start:,}", "JSON in UTF-8") from None
    try:
        if len(body) <= PIECE_BYTES:
            check_depth(_depth(body))
            return loads(text)
        from service.long_json import parse_long  # brings numpy

        return parse_long(body, text, PIECE_BYTES)
    except json.JSONDecodeError as error:
        got = f"{error.msg} at line {error.lineno:,}, column {error.colno:,}" if text.strip() else "an empty body"
        raise MalformedInput.of("body", got, "JSON") from None
    except MalformedInput:
        raise
    except ValueError:  # Python's limit on the digits of an integer, against quadratic time
        raise MalformedInput.of("body", "an integer of thousands of digits", "a number of a usual size") from None


def loads(text: str) -> Any:
    """The value. Raises JSONDecodeError; MalformedInput for a key twice; ValueError for an integer of thousands of
    digits."""
    return json.loads(text, object_pairs_hook=_object)


def check_depth(depth: int) -> None:
    """Raises MalformedInput where values are nested too deep."""
    if depth > MAX_DEPTH:
        raise MalformedInput.of("body", f"values nested {depth:,} deep", f"at most {MAX_DEPTH}")


def _depth(body: bytes) -> int:
    """How deep arrays and objects are nested; told without recursion, and at least the truth for broken JSON."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise twice(key)
            seen.add(key)
    return found


def twice(key: str) -> InvalidInput:
    """What is wrong with an object that has a key twice."""
    return MalformedInput.of(key, "the same key twice in one object", "each key once")
