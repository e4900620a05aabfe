"""The service from its first moment on: it says at once that it is alive, and takes in all else when it is imported.

The libraries behind the API take one to two seconds to import where nothing is compiled yet. Who watches over the
service should not have to wait for that to know that it started.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.problems import MEDIA_TYPE, problem_document

__all__ = ["Opening"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

log = logging.getLogger("chainrule")


class Opening:
    """An ASGI application that makes another one in the background and then is that one.

    Until then `/healthz` is answered and all else is a 503. When the other one cannot be made or started,
    `on_failure` is called.
    """

    def __init__(self, make_app: Callable[[], App], on_failure: Callable[[], None]) -> None:
        self._make_app, self._on_failure = make_app, on_failure
        self._app: App | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _answer(scope, send)

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Starts the other application a little later than the server believes, and ends it with the server."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        first: list[Message] = [{"type": "lifespan.startup"}]

        async def receive_after_startup() -> Message:
            return first.pop() if first else await receive()

        async def send_after_startup(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._app = app
            elif message["type"] == "lifespan.startup.failed":
                raise RuntimeError(message.get("message", "the application did not start"))
            else:
                await send(message)

        try:
            app = await asyncio.to_thread(self._make_app)
            await app(scope, receive_after_startup, send_after_startup)
        except Exception:
            log.exception("the service could not start")
            self._on_failure()
            raise


async def _answer(scope: MutableMapping[str, Any], send: Send) -> None:
    alive = scope["path"] == "/healthz"
    status, kind = (200, "application/json") if alive else (503, MEDIA_TYPE)
    detail = "the service is starting; try again in a moment"
    body = json.dumps({"status": "alive"} if alive else problem_document(503, detail)).encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if not alive:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
