"""Parameters that several routes take.

What asks nobody is `async`, though it waits for nothing: FastAPI runs plain functions in threads, and to hand something
to a thread and back takes longer than all of these together.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request
from fastapi.routing import APIRoute

from service.auth import Reader, Submitter, authorize
from service.control import ControlPlane
from shared.errors import FieldError, InvalidInput, NotFound

__all__ = [
    "EVENT_ID",
    "TENANT",
    "TURN",
    "TURN_TO_UPLOAD",
    "ULID",
    "Control",
    "Cursor",
    "DatasetId",
    "DatasetKey",
    "JobId",
    "KeyId",
    "LastEventId",
    "Limit",
    "TenantName",
    "admit",
    "control_of",
    "in_path",
    "known_as",
    "like",
    "turn_of",
]

KEY_ID = re.compile(r"key_[0-9a-z]{8}")
TENANT = re.compile(r"[a-z0-9-]{1,63}")
ULID = "[0-9A-HJKMNP-TV-Z]{26}"
JOB_ID, DATASET_ID = re.compile(f"job_{ULID}"), re.compile(f"ds_{ULID}")
EVENT_ID = re.compile(r"[0-9]{0,18}")


def like(pattern: str) -> dict[str, Any]:
    """What the document says of a parameter that we check ourselves: to tell more than that it does not match, or to
    answer 404."""
    return {"pattern": f"^{pattern}$"}


def control_of(request: Request) -> ControlPlane:
    """What answers a request: for routes that are asked all the time, as to be given it costs a fifteenth of them."""
    control: ControlPlane = request.app.state.control
    return control


async def _control(request: Request) -> ControlPlane:
    return control_of(request)


def in_path(what: str, example: str, pattern: re.Pattern[str], called: str = "id") -> Any:
    """An id in an address, or a name, as the document tells of it; `known_as` checks it."""
    return Path(description=f"The {what}'s {called}.", examples=[example], json_schema_extra=like(pattern.pattern))


def known_as(what: str, pattern: re.Pattern[str], value: str) -> str:
    """An id, or a name, that there may be. Raises NotFound."""
    if not pattern.fullmatch(value):
        raise NotFound(f"there is no {what} {ascii(value[:100])[1:-1]}")
    return value


async def _job_id(job_id: Annotated[str, in_path("job", "job_01K9T4Z3N7J5W8QH2M6RVYBXCD", JOB_ID)]) -> str:
    return known_as("job", JOB_ID, job_id)


async def _dataset_id(dataset: Annotated[str, in_path("data set", "ds_01K9T4Z3N7J5W8QH2M6RVYBXCD", DATASET_ID)]) -> str:
    if not DATASET_ID.fullmatch(dataset):
        said = ascii(dataset[:100])[1:-1]
        raise NotFound(f"there is no data set with the id {said}: it is asked for by its id, ds_…, never by its name")
    return dataset


async def _key_id(key_id: Annotated[str, in_path("key", "key_ab12cd34", KEY_ID)]) -> str:
    return known_as("key", KEY_ID, key_id)


async def _tenant_name(tenant: Annotated[str, in_path("tenant", "risk", TENANT, "name")]) -> str:
    return known_as("tenant", TENANT, tenant)


Control = Annotated[ControlPlane, Depends(_control)]
JobId = Annotated[str, Depends(_job_id)]
DatasetId = Annotated[str, Depends(_dataset_id)]
KeyId = Annotated[str, Depends(_key_id)]
TenantName = Annotated[str, Depends(_tenant_name)]


async def turn_of(who: Reader, control: Control) -> AsyncIterator[None]:
    """Has a turn of who asks, until the answer is made."""
    async with control.concurrency.of(who.tenant):
        yield


async def turn_to_upload(who: Submitter, control: Control) -> AsyncIterator[None]:
    """Is one of the uploads of who asks, or is refused, until its data set is listed."""
    async with control.uploads.of(who.tenant):
        yield


TURN = Depends(turn_of, scope="function")
"""Of a route that computes for long; it comes before the body is read, and is over before the answer is sent, which
may be taken slowly."""
TURN_TO_UPLOAD = Depends(turn_to_upload, scope="function")
"""Of an upload, before its body is read."""
DatasetKey = Annotated[
    str, Path(description="The data set's id, or its name, which means its newest version.", examples=["adult"])
]
LastEventId = Annotated[
    str | None,
    Header(
        description="The id of the last event received: the stream goes on after it.",
        json_schema_extra=like(EVENT_ID.pattern),
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Items a page, at most.")]
Cursor = Annotated[str | None, Query(max_length=100, description="The `next_cursor` of the page before.")]


async def admit(request: Request) -> None:
    """A dependency of all routes, which comes before all others: finds out who asks, and whether they may. Parameters
    that the route does not know are refused: a misspelt `dry_run` must not start a job.

    Raises Unauthorized, Forbidden, InvalidInput.
    """
    await authorize(request)
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = [field.alias for field in route.dependant.query_params]
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        expected = f"no such parameter; there are {', '.join(known)}" if known else "no parameter"
        raise InvalidInput([FieldError(name, request.query_params[name], expected) for name in unknown])
