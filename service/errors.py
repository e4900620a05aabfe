"""Errors as HTTP answers: problem documents (RFC 9457), one table from our tree of errors to a status."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from service.database import AWAY, reason_of
from service.field_errors import query_errors
from service.problems import MEDIA_TYPE, problem_document
from service.telemetry import route_of
from shared.errors import (
    ChainruleError,
    Conflict,
    Forbidden,
    InvalidInput,
    MalformedInput,
    NotFound,
    TooLarge,
    TooManyRequests,
    TrainingError,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
    shown,
)
from workers.failures import NO_ROOM, words_of

__all__ = ["FieldProblem", "Problem", "install", "problem"]

RETRY_AFTER_S = 2  # of a database that is away
MENDED_AFTER_S = 30  # of a disk: somebody has to do something
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; for the log

log = logging.getLogger("chainrule")

STATUS: dict[type[ChainruleError], int] = {  # the first that fits, so children before parents
    MalformedInput: 400,
    InvalidInput: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    TooManyRequests: 429,
    Unavailable: 503,
    TrainingError: 409,  # a data set whose file is gone, met while planning
}


class FieldProblem(BaseModel):
    """One wrong field of what was sent."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str = Field(examples=["layers[1].units"])
    """Its path, cut to 100 characters."""
    got: Any = Field(examples=[-3])
    """What stood there, cut to 100 characters; null where nothing did."""
    expected: str = Field(examples=["an integer from 1 to 1,000,000"])
    """What should stand there, in words."""


class Problem(BaseModel):
    """Why a request was refused, or could not be answered (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True, title="Problem")

    type: str = Field(examples=["about:blank"])
    """Always `about:blank`: the status says what kind of problem it is."""
    title: str = Field(examples=["Unprocessable Content"])
    """The status in words."""
    status: int = Field(examples=[422])
    """The status of the answer."""
    detail: str = Field(examples=["1 field is wrong: layers[1].units"])
    """What is wrong, and what to do about it."""
    request_id: str = Field(examples=["req_01K9T4Z3N7J5W8QH2M6RVYBXCD"])
    """What the log calls this request; also in the header `X-Request-Id`."""
    errors: list[FieldProblem] | None = None
    """The wrong fields, where fields are wrong."""


def install(app: FastAPI) -> None:
    """Makes every error of `app` a problem document."""
    app.add_exception_handler(ChainruleError, _ours)
    for error in AWAY:
        app.add_exception_handler(error, _database_away)
    app.add_exception_handler(OSError, _machine)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(ClientDisconnect, _gone)


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """The answer that says so."""
    body = problem_document(status, detail, request.scope.get("chainrule.request_id", ""))
    if errors:
        body["errors"] = list(errors)
    # ASCII: what was got may hold what UTF-8 cannot, a lone surrogate.
    return Response(json.dumps(body), status, headers=headers, media_type=MEDIA_TYPE)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChainruleError)
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if isinstance(error, InvalidInput):
        return _invalid(request, status, error)
    return problem(request, status, str(error), headers=_headers(error))


def _headers(error: ChainruleError) -> dict[str, str] | None:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else None


def _invalid(request: Request, status: int, error: InvalidInput) -> Response:
    fields = [
        {"field": shown(wrong.field), "got": shown(wrong.got), "expected": wrong.expected[:1000]}
        for wrong in error.errors
    ]
    names = ", ".join(field["field"] for field in fields[:5]) + (", …" if len(fields) > 5 else "")
    if status == 400:
        detail = f"the body cannot be read: got {shown(error.errors[0].got)}, expected {error.errors[0].expected}"
    else:
        detail = f"{len(fields)} fields are wrong: {names}" if len(fields) > 1 else f"1 field is wrong: {names}"
    return problem(request, status, detail, fields)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404:
        detail = "there is nothing at this address; /docs lists all that there is"
    elif error.status_code == 405:
        detail = f"{request.method} cannot be done here"
        headers["Allow"] = ", ".join(_methods(request))
    return problem(request, error.status_code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """All that can be done at the address; what refuses a method knows of one route only."""
    routes = [context.original_route for context in iter_route_contexts(request.app.routes)]
    there = [route for route in routes if isinstance(route, APIRoute) and route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in there for method in route.methods or ()})


async def _database_away(request: Request, error: Exception) -> Response:
    """Whatever was to be written is not: nothing is acknowledged before it is committed."""
    log.warning("%s %s: the database is away: %s", request.method, route_of(request.scope), reason_of(error))
    return await _ours(request, Unavailable("the database does not answer; try again in a moment", RETRY_AFTER_S))


async def _machine(request: Request, error: Exception) -> Response:
    """What is wrong with the disk, without the service's paths; the log has them. What the operating system has not
    said is a mistake of ours."""
    assert isinstance(error, OSError)
    if error.errno is None:
        raise error
    log.error("%s %s: %s", request.method, route_of(request.scope), words_of(error), exc_info=error)
    if error.errno in NO_ROOM:
        said = f"there is no room on the service's disk ({words_of(error)}); try again when there is"
    else:
        said = f"the service's disk or machine does not do its work ({words_of(error)}); try again when that is mended"
    return await _ours(request, Unavailable(said, MENDED_AFTER_S))


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _invalid(request, 422, InvalidInput(query_errors(error.errors())))


async def _gone(request: Request, error: Exception) -> Response:
    return problem(request, CLIENT_CLOSED_REQUEST, "the connection was closed before the request had arrived")
