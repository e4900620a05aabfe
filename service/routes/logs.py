"""A job's log: what happened to it, line by line, as a list and as it grows."""

from operator import attrgetter
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from service.auth import Reader
from service.log_views import LogLine, LogPage
from service.openapi import errors
from service.routes.jobs import AFTER, MAX_STEP, event_number, follow
from service.routes.parameters import TURN, Control, Cursor, JobId, LastEventId
from service.views import number_of, page_of

router = APIRouter(prefix="/v1/jobs/{job_id}/logs", tags=["jobs"])

LINES_A_PAGE = 1_000

LineLimit = Annotated[int, Query(ge=1, le=10_000, description="Items a page, at most.")]


@router.get("", dependencies=[TURN], responses=errors(404, 422, 429, 503))
def get_logs(
    job_id: JobId,
    who: Reader,
    control: Control,
    after: Annotated[int, Query(ge=0, le=MAX_STEP, description="Only lines with a `seq` above this one.")] = 0,
    limit: LineLimit = LINES_A_PAGE,
    cursor: Cursor = None,
) -> LogPage:
    """List the lines of a job's log, oldest first: its moves, workers, epochs, checkpoints and troubles."""
    lines, _ = control.store.log_after(who.tenant, job_id, max(after, number_of(cursor) or 0), limit + 1)
    page, next_cursor = page_of(lines, limit, attrgetter("seq"))
    return LogPage(items=[LogLine.model_validate(line.json) for line in page], next_cursor=next_cursor)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events `log`, each with a line of the log as its data and the line's `seq` as "
            "its id. The stream ends with the job.",
            "content": {"text/event-stream": {"schema": {"description": "Lines, one after the other."}}},
        },
        **errors(404, 422, 429, 503),
    },
)
async def watch_logs(
    request: Request,
    job_id: JobId,
    who: Reader,
    control: Control,
    after: Annotated[int, Query(ge=0, le=MAX_STEP, description=AFTER)] = 0,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Follow a job's log: all its lines so far, then those to come, until its end."""
    return await follow(request, job_id, who, control, max(after, event_number(last_event_id)), "log")
