"""Sessions: a browser signs in with a code from a link, or with a key, and is known by a cookie from then on."""

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.auth import COOKIE, OPEN, Reader, authenticate
from service.credentials import SESSION_S
from service.examples import SIGNIN
from service.field_errors import validated
from service.json_body import read_code
from service.key_views import Session, SigninLink, SigninRequest
from service.openapi import errors, json_body
from service.routes.parameters import Control

router = APIRouter(prefix="/v1", tags=["keys"])


@router.post(
    "/session",
    dependencies=[OPEN],
    responses=errors(400, 401, 403, 413, 415, 422, 503),
    openapi_extra=json_body(SigninRequest, SIGNIN, required=False),
)
async def sign_in(request: Request, response: Response, control: Control) -> Session:
    """Sign a browser in, with a code, or without a body by a key in `Authorization`; sets a cookie for twelve hours."""
    credentials = control.credentials
    if "authorization" in request.headers:
        who = await authenticate(request)
        ticket = await run_in_threadpool(credentials.open_session, who.key_id)
    else:
        code = validated(SigninRequest, await read_code(request)).code
        ticket = await run_in_threadpool(credentials.redeem, code)
        who = await run_in_threadpool(credentials.holder_of_session, ticket.secret)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, ticket.secret, SESSION_S, httponly=True, samesite="strict", secure=secure)
    return Session.of(who)


@router.get("/session", responses=errors(422, 503))
async def get_session(who: Reader) -> Session:
    """Tell who asks: the tenant, the scopes, and the key."""
    return Session.of(who)


@router.delete("/session", status_code=204, responses=errors(422, 503))
def sign_out(request: Request, response: Response, _who: Reader, control: Control) -> None:
    """Sign out: the session of the cookie is over."""
    token = request.cookies.get(COOKIE)
    if token is not None:
        control.credentials.close_session(token)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@router.post("/signin-links", status_code=201, responses=errors(422, 503))
def add_signin_link(who: Reader, control: Control) -> SigninLink:
    """Make a link that opens the page signed in as who asks, once, within ten minutes."""
    ticket = control.credentials.signin_code(who.key_id)
    return SigninLink(code=ticket.secret, path=f"/#signin={ticket.secret}", expires_at=ticket.expires_at)
