"""Middleware around everything: an id for each request, a line and a count, and a plain 500 for what nobody foresaw."""

import logging
import random
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULIDGenerator
from ulid.constants import RANDOMNESS_LEN

from service.errors import problem
from service.log import about
from service.routes.parameters import JOB_ID
from service.telemetry import Telemetry, route_of

__all__ = ["Access"]

log = logging.getLogger("chainrule")
access = logging.getLogger("chainrule.access")

# Of the requests: their ids guard nothing, and what the system calls random costs a turn of this process's lock.
IDS = ULIDGenerator(randomness=lambda _timestamp: random.randbytes(RANDOMNESS_LEN))


PROBES = ("/healthz", "/readyz", "/metrics")  # programs ask these all the time, and their answers stand in the metrics


class Access:
    """Lets requests in, and tells the log and `telemetry` of each, by the template of its address: the address itself
    may hold what nobody should have sent."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["chainrule.request_id"] = f"req_{IDS.generate()}"
        began = time.perf_counter()
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
                self._tell(scope, message["status"], time.perf_counter() - began)
            await send(message)

        with about(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("%s %s failed", scope["method"], route_of(scope))
                if begun:
                    raise  # too late for another answer: the connection breaks off
                detail = f"the service failed at this request; its log says more under {request_id}"
                await problem(Request(scope), 500, detail)(scope, receive, send_with_id)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], route_of(scope)
        self._telemetry.answered(method, route, status, seconds)
        level = logging.DEBUG if route in PROBES else logging.INFO
        if access.isEnabledFor(level):
            state = scope.get("state", {})
            job_id = scope.get("path_params", {}).get("job_id") or state.get("job_id", "")
            principal = state.get("principal")
            extra = {
                "job_id": job_id if JOB_ID.fullmatch(job_id) else None,
                "tenant": None if principal is None else principal.tenant,
                **{"method": method, "route": route, "status": status, "duration_s": round(seconds, 6)},
            }
            access.log(level, "%s %s: %d", method, route, status, extra=extra)
