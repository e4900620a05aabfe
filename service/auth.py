"""Who may do what: every route says which scope it needs, and what comes without a key that has it gets no further."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from urllib.parse import unquote

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from service.credentials import Credentials
from service.errors import problem
from service.hosts import SAFE, is_same_origin
from service.keys import Principal, Scope, holds_key
from shared.errors import Forbidden, Unauthorized

__all__ = [
    "COOKIE",
    "OPEN",
    "Admin",
    "NoKeysInUrls",
    "Reader",
    "Submitter",
    "authenticate",
    "authorize",
    "recheck",
    "scope_of",
]

COOKIE = "chainrule_session"


class Needs:
    """What a route declares: the scope that it needs, or None where anybody may come. It is a dependency that gives the
    endpoint who asks."""

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal | None:
        principal: Principal | None = request.state.principal
        return principal


OPEN = Depends(Needs(None))
"""Of a route for everybody."""
Reader = Annotated[Principal, Depends(Needs(Scope.READ))]
"""An endpoint's parameter: who asks, and may read."""
Submitter = Annotated[Principal, Depends(Needs(Scope.SUBMIT))]
"""The same with the scope `submit`."""
Admin = Annotated[Principal, Depends(Needs(Scope.ADMIN))]
"""The same with the scope `admin`."""


class NoKeysInUrls:
    """Middleware: 401 for a key in the URL, whatever else came with it, and wherever the URL leads."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _names_key(scope):
            detail = "got a key in the URL, where logs keep it: revoke it, and send keys in Authorization only"
            answer = problem(Request(scope), 401, detail, headers={"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _names_key(scope: ASGIScope) -> bool:
    return holds_key(scope["path"]) or holds_key(unquote(scope["query_string"].decode("latin-1")))


async def authorize(request: Request) -> None:
    """Finds out who asks, and whether they may, of every route, also of the open ones. Raises Unauthorized,
    Forbidden."""
    request.state.principal = None
    needed = scope_of(request.scope["route"])
    if needed is not None:
        request.state.principal = await authenticate(request)
        request.state.principal.check(needed)


def scope_of(route: APIRoute) -> Scope | None:
    """The scope that a route needs; None for everybody. Raises LookupError for one that declares nothing: closed."""
    declared = [needs.scope for needs in _declared(route.dependant)]
    if not declared:
        raise LookupError(f"{route.path} does not say which scope it needs")
    return max((scope for scope in declared if scope is not None), key=list(Scope).index, default=None)


def _declared(dependant: Dependant) -> Iterator[Needs]:
    if isinstance(dependant.call, Needs):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _declared(inner)


async def authenticate(request: Request) -> Principal:
    """Who asks, by the key in `Authorization`, else by the session in the cookie. Raises Unauthorized; Forbidden for a
    session that writes and does not come from our own page."""
    shown = _shown(request)
    credentials: Credentials = request.app.state.control.credentials
    known = shown.remembered(credentials)
    return known if known is not None else await run_in_threadpool(shown.holder, credentials)


@dataclass(frozen=True)
class Recheck:
    """Finds out anew who asks, for an answer that goes on for long; raises as `authenticate`. That of the same key or
    session is equal."""

    shown: "Shown"
    credentials: Credentials

    def __call__(self) -> Principal:
        """Who asks now."""
        return self.shown.remembered(self.credentials) or self.shown.holder(self.credentials)


def recheck(request: Request) -> Recheck:
    """What finds out anew who asks."""
    return Recheck(_shown(request), request.app.state.control.credentials)


class Shown(NamedTuple):
    """What came with a request to say who asks: a key, or the token of a session."""

    secret: str
    is_session: bool

    def remembered(self, credentials: Credentials) -> Principal | None:
        """Who holds it, if that was found out a moment ago."""
        return credentials.remembered(self.secret, is_session=self.is_session)

    def holder(self, credentials: Credentials) -> Principal:
        """Who holds it, by the database. Raises Unauthorized."""
        return credentials.holder_of_session(self.secret) if self.is_session else credentials.holder_of_key(self.secret)


def _shown(request: Request) -> Shown:
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, key = given.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(f"got Authorization: {ascii(scheme[:20])[1:-1]}, expected Authorization: Bearer KEY")
        return Shown(key.strip(), is_session=False)
    token = request.cookies.get(COOKIE)
    if token is None:
        raise Unauthorized("got no key, expected Authorization: Bearer KEY")
    if request.method not in SAFE and not is_same_origin(request):
        raise Forbidden("got no Origin: with a session, only the service's own page may change anything")
    return Shown(token, is_session=True)
