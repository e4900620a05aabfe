"""Middleware around everything: an id for each request, a count of it, and a plain 500 for what nobody foresaw."""

import logging
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from service.errors import problem
from service.telemetry import NO_ROUTE, Telemetry

__all__ = ["Access", "route_of"]

log = logging.getLogger("chainrule")


class Access:
    """Lets requests in, and tells `telemetry` of each."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["chainrule.request_id"] = f"req_{ULID()}"
        began = time.perf_counter()
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
                seconds = time.perf_counter() - began
                self._telemetry.answered(scope["method"], route_of(scope), message["status"], seconds)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
            if begun:
                raise  # too late for another answer: the connection breaks off
            detail = f"the service failed at this request; its log says more under {request_id}"
            await problem(Request(scope), 500, detail)(scope, receive, send_with_id)


def route_of(scope: Scope) -> str:
    """The template of the address that was asked for, of which there are few; NO_ROUTE where nothing is there."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    if "endpoint" not in scope:
        return NO_ROUTE
    folder = scope.get("root_path")
    return f"{folder}/{{file}}" if folder else str(scope["path"])  # a folder of files; the OpenAPI document
