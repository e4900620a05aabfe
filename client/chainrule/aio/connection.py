"""How requests reach the service and answers come back: keys, retries, streams, lists."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from chainrule.aio.page import AsyncPage
from chainrule.aio.waiting import pause
from chainrule.body import json_body
from chainrule.errors import InvalidInput, NotFound, ServiceError, Unauthorized, Unavailable, Unreachable
from chainrule.keys import EXPECTED, find_key, key_of
from chainrule.local import DEFAULT_URL, find_url
from chainrule.records import Event
from chainrule.sse import EventParser

__all__ = ["KEPT_S", "LONGEST_WAIT_S", "AsyncConnection", "document", "given", "segment"]

REQUEST_TIMEOUT_S = 60.0
EVENT_SILENCE_S = 60.0  # an event stream that says nothing for so long is opened anew
PAGE_LIMIT = 500  # the most items that the service gives at once
RETRIES = 3  # of requests that may be repeated without harm
LONGEST_WAIT_S = 5.0  # between two tries
KEPT_S = 4.0  # an idle connection: the service closes it after 5 s, perhaps just as a request is on its way

Item = TypeVar("Item")
Result = TypeVar("Result")


class AsyncConnection:
    """Speaks HTTP to one service: what the methods of a client, which says where URL and key come from, are made of."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = pause,
    ) -> None:
        self.url = (url or find_url()).rstrip("/")
        try:
            valid = httpx.URL(self.url).scheme in ("http", "https")
        except httpx.InvalidURL:
            valid = False
        if not valid:
            raise InvalidInput.of("url", self.url, f"an address such as {DEFAULT_URL}")
        self._key, self._sleep = None if key is None else key_of(key), sleep
        # Proxies of the environment are not asked: a service on loopback or in the cluster is spoken to directly.
        self._http = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEPT_S),
            transport=transport,
            trust_env=False,
            # Without TLS there are no certificates to check: to load them takes longer than most requests.
            verify=self.url.startswith("https://"),
            auth=self._with_key,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it holds connections; nothing in it changes

    async def close(self) -> None:
        """Closes the connections; repeating is harmless."""
        await self._http.aclose()

    @property
    def key(self) -> str | None:
        """The key that is sent; looked for until there is one, as a local service makes its own at its first start."""
        if self._key is None:
            self._key = find_key(self.url)
        return self._key

    def _with_key(self, request: httpx.Request) -> httpx.Request:
        if self.key is not None:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    async def send_json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Sends a request for a path of the API that no other method is for, and returns the JSON of the answer, if
        it has one. What is None in `body` is left out. Only what harms nobody when it comes twice is sent again."""
        content = {} if body is None else json_body(given(body))
        send = self._send if method == "POST" else self._repeatable
        answer = await send(method, path, **content)
        return document(answer) if answer.content else None

    async def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return document(await self._repeatable("GET", path, params=given(params or {})))

    async def page(
        self, path: str, read: Callable[[Mapping[str, Any]], Item], params: Mapping[str, Any], size: int | None = None
    ) -> AsyncPage[Item]:
        """The first page of the list at `path`, each item of which is read by `read`; it leads to the others.

        `limit` of `params` is how many items are wanted at most, `cursor` is where the list begins. `size` is what a
        page holds where all are wanted: at first as many as the service thinks fit, then the most that it gives.
        """
        limit = params.get("limit")
        size = size if limit is None else min(limit, PAGE_LIMIT)
        answer = await self._get(path, {**params, "limit": size})
        items, cursor = [read(item) for item in answer["items"]], answer.get("next_cursor")
        left = None if limit is None else limit - len(items)
        if cursor is None or left == 0:
            return AsyncPage(items, cursor)
        further = {**params, "limit": left, "cursor": cursor}
        return AsyncPage(items, cursor, partial(self.page, path, read, further, max(PAGE_LIMIT, len(items))))

    async def _all(self, path: str, read: Callable[[Mapping[str, Any]], Item], params: Mapping[str, Any]) -> list[Item]:
        """The items of every page of a list."""
        return [read(item) async for item in await self.page(path, dict, params)]

    async def _repeatable(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Sends what may be sent twice without harm, as often as `_again` does."""
        tries = 0

        async def ask() -> httpx.Response:
            nonlocal tries
            tries += 1
            try:
                return await self._send(method, path, **request)
            except NotFound:
                if method == "DELETE" and tries > 1:
                    return httpx.Response(204)  # an earlier try has done it, and its answer was lost
                raise

        return await self._again(ask)

    async def _again(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """What `ask` returns; it asks from the beginning again when the service is busy or the line breaks."""
        for attempt in range(RETRIES):
            try:
                return await ask()
            except Unavailable as busy:
                if busy.retry_after_s is None or busy.retry_after_s > LONGEST_WAIT_S:
                    raise
                await self._sleep(busy.retry_after_s)
            except Unreachable as broken:
                if isinstance(broken.__cause__, httpx.ConnectError | httpx.TimeoutException):
                    raise  # nothing listens there, or it does not answer: waiting longer is the caller's choice
                await self._sleep(0.1 * 2**attempt)
        return await ask()

    async def _stream(self, path: str, parser: EventParser, deadline: float) -> AsyncIterator[Event]:
        """The events of one connection; returns when it ends, says nothing for too long, or the time is over."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if parser.last_id:
            headers["Last-Event-ID"] = parser.last_id
        left_s = max(0.01, deadline - time.monotonic())
        timeout = httpx.Timeout(min(EVENT_SILENCE_S, left_s), connect=10.0)
        async with self._open(path, headers=headers, timeout=timeout) as response:
            try:
                async for chunk in response.aiter_bytes():
                    for event in parser.feed(chunk):
                        yield Event(event.type, json.loads(event.data), event.id)
                    if time.monotonic() > deadline:
                        return
            except httpx.ReadTimeout:
                return

    @asynccontextmanager
    async def _open(self, path: str, **request: Any) -> AsyncIterator[httpx.Response]:
        """A GET whose body is read piece by piece."""
        try:
            async with self._http.stream("GET", path, **request) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._error(response)
                yield response
        except httpx.TransportError as broken:
            raise Unreachable(self.url, _why(broken)) from broken

    async def _send(self, method: str, path: str, *, refuse: bool = True, **request: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **request)
        except httpx.TransportError as broken:
            raise Unreachable(self.url, _why(broken)) from broken
        except httpx.InvalidURL as wrong:
            raise Unreachable(self.url, str(wrong)) from wrong
        if response.has_redirect_location or (refuse and not response.is_success):
            raise self._error(response)
        return response

    def _error(self, response: httpx.Response) -> ServiceError:
        if response.has_redirect_location:  # not followed: what was asked for may be a POST, and the key is not theirs
            path = response.request.url.raw_path.decode()
            detail = f"the service is at {response.headers['Location'].removesuffix(path)}, not at {self.url}"
            return ServiceError(response.status_code, response.reason_phrase, detail)
        try:
            body = response.json()
        except ValueError:
            body = None
        retry_after = response.headers.get("Retry-After")
        error = ServiceError.of(response.status_code, body, response.reason_phrase, retry_after)
        if isinstance(error, Unauthorized) and self._key is None:
            detail = f"no key: found none for {self.url}, {EXPECTED}"
            return Unauthorized(error.status, error.title, detail, request_id=error.request_id)
        return error


def document(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises ServiceError for what is none: something else than the service has answered."""
    try:
        return response.json()
    except ValueError:
        media = response.headers.get("Content-Type", "nothing")
        detail = f"got {media} from {response.url}, expected JSON: no Chainrule service answers there"
        raise ServiceError(response.status_code, response.reason_phrase, detail) from None


def segment(text: str) -> str:
    """`text` as one segment of a path: an id with a slash in it must not reach another resource."""
    return quote(text, safe="")


def given(params: Mapping[str, Any]) -> dict[str, Any]:
    """What is not None."""
    return {name: value for name, value in params.items() if value is not None}


def _why(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    return str(error) or type(error).__name__
