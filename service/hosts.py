"""The names that the service answers to, and the pages that may ask it: against DNS rebinding and forged requests.

A page of another site can make a browser send requests here. It can neither choose the `Host` that the browser names,
once that is checked, nor hide where it comes from: browsers send `Origin` with everything that changes something.
"""

import re
from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import problem

__all__ = ["SAFE", "Hosts", "is_same_origin"]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]+)?")


class Hosts:
    """Middleware: 400 for a `Host` that is not ours, 403 for a page of another origin that wants to change something.

    Ours are the names of loopback, `allowed`, and the address that the connection came in on. Ports do not count, since
    what forwards one often changes it.
    """

    def __init__(self, app: ASGIApp, allowed: Iterable[str]) -> None:
        self._app = app
        self._allowed = LOOPBACK | {name.lower().strip("[]") for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            given = request.headers.get("host", "")
            came_in_on, _ = scope.get("server") or ("", 0)
            if not self._is_ours(given, came_in_on):
                detail = f"got Host: {ascii(given[:100])[1:-1]}, expected a name of this service; see --allowed-host"
                await problem(request, 400, detail)(scope, receive, send)
                return
            if request.method not in SAFE and "origin" in request.headers and not is_same_origin(request):
                got = ascii(request.headers["origin"][:100])[1:-1]
                detail = f"got Origin: {got}, expected the service's own: pages of other sites may not ask for this"
                await problem(request, 403, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str, came_in_on: str) -> bool:
        found = HOST.fullmatch(host.lower())
        return found is not None and (found[1] or found[2]) in self._allowed | {came_in_on.removeprefix("::ffff:")}


def is_same_origin(request: Request) -> bool:
    """Whether the request names an `Origin`, and that is the host that it was sent to. Schemes are not compared, since
    a proxy in front may have ended TLS."""
    given = request.headers.get("origin", "")
    scheme, _, authority = given.partition("://")
    return scheme in ("http", "https") and authority.lower() == request.headers.get("host", "").lower()
