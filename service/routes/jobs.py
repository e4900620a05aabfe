"""Jobs: submitting, listing, steering, and watching them."""

import re
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field

from service.auth import Reader, Submitter, authenticate, recheck
from service.control import ControlPlane
from service.events import What
from service.examples import SPEC
from service.feed import sends_nothing
from service.intake import LONG_PLAN_BYTES, Asked
from service.jobs import JobState, Verb
from service.json_body import is_short, read_json
from service.keys import Principal, Scope
from service.openapi import errors, headers, json_body
from service.routes.pacing import KEY, IdempotencyKey, IsDryRun, too_fast
from service.routes.parameters import EVENT_ID, TURN, Control, Cursor, JobId, LastEventId, Limit, control_of, like
from service.store import PAGE_BYTES, JobFilter, JobRow
from service.submission import Added, NewJob
from service.views import (
    DryRun,
    HistoryItem,
    HistoryPage,
    Job,
    JobPage,
    Metric,
    MetricPage,
    number_of,
    page_of,
)
from shared.errors import InvalidInput
from shared.spec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LABEL = re.compile(r"([A-Za-z0-9_.\-/]{1,63})(?:[=:]([^\x00]*))?", re.DOTALL)
MAX_STEP = 2**62
AFTER = (
    "Only what has an id above this one; `Last-Event-ID`, which a browser sends when it connects again, may say more."
)
LONG_PAGE = 10_000
EVENT_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_LABELS = 64  # as many as a job can have

LongLimit = Annotated[int, Query(ge=1, le=LONG_PAGE, description="Items a page, at most.")]


# ---------------------------------------------------------------- submitting
@router.post(
    "",
    status_code=202,
    response_model=Job,
    responses={
        200: {
            "model": DryRun | Job,
            "description": "With `dry_run`: the plan, and no job. With an `Idempotency-Key` seen before: that job.",
            "headers": headers(Location="Where the job is, if it is one."),
        },
        202: {"description": "The job, queued.", "headers": headers(Location="Where the job is.")},
        **errors(400, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra=json_body(JobSpec, SPEC),
)
async def submit_job(
    request: Request,
    who: Reader,
    dry_run: IsDryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job; a dry run needs the scope `read` only."""
    control = control_of(request)
    _check_key(idempotency_key)
    if dry_run:
        async with control.concurrency.of(who.tenant):
            data = await read_json(request)
            async with control.planners:
                return await run_in_threadpool(_dry_run, control, who, data)
    who.check(Scope.SUBMIT)
    refused = await too_fast(control, who, idempotency_key)
    async with nullcontext() if refused is None else control.concurrency.of(who.tenant):
        asked = Asked(who, await read_json(request), recheck(request), idempotency_key, refused)
        made: Added | NewJob | None = None
        if is_short(request):
            async with control.quick_planning.of(who.tenant):
                made = await control.intake.submit_if_quick(asked)
        if made is None:
            async with control.planning.of(who.tenant), control.planners:
                made = await run_in_threadpool(control.intake.planned, asked)
    is_long = isinstance(made, NewJob) and made.plan_bytes > LONG_PLAN_BYTES
    async with control.concurrency.of(who.tenant) if is_long else nullcontext():  # few of one tenant hold up the others
        if isinstance(made, NewJob):
            await authenticate(request)  # of data sets of very many rows planning takes long; others may come before it
            made = await control.intake.submit(made)
        job, is_new = made
        request.state.job_id = job.id  # for the log: no other line says which request made which job
        if not is_new and refused is None:
            control.pace.give_back(who.tenant, who.key_id)
        if is_new:
            control.job_came(job)
        # To hand a short one to a thread takes longer than to answer it.
        return await run_in_threadpool(_taken, control, job, is_new) if is_long else _taken(control, job, is_new)


def _taken(control: ControlPlane, job: JobRow, is_new: bool) -> Response:
    return _shown(control, job, job.plan).answer(202 if is_new else 200, {"Location": f"/v1/jobs/{job.id}"})


def _check_key(idempotency_key: str | None) -> None:
    """Raises InvalidInput."""
    if idempotency_key is not None and not KEY.fullmatch(idempotency_key):
        raise InvalidInput.of("Idempotency-Key", idempotency_key, "1 to 255 printable ASCII characters")


def _dry_run(control: ControlPlane, who: Principal, data: Any) -> Response:
    return JSONResponse(control.intake.dry_run(who.tenant, data).model_dump(mode="json"))


# ---------------------------------------------------------------- one job, and all of them
def _shown(control: ControlPlane, job: JobRow, plan: Mapping[str, Any]) -> Job:
    return Job.of(job, plan, control.places.of(job))


@router.get("", response_model=JobPage, responses=errors(422, 429, 503))
async def list_jobs(
    request: Request,
    who: Reader,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in these states; repeatable.")] = None,
    label: Annotated[
        list[Annotated[str, Field(json_schema_extra=like(LABEL.pattern))]] | None,
        Query(
            max_length=MAX_LABELS,
            description="Only jobs with this label, `key=value`, or any value of it, `key`; repeatable: all of them.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="Only jobs with this in their name, in any case."),
    ] = None,
    parameters_sha256: Annotated[
        str | None,
        Query(pattern=r"^[0-9a-f]{64}$", description="Only jobs that ended with these very bits."),
    ] = None,
    owner: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="Only jobs submitted with a key of this very name."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List jobs, newest first: fewer than `limit` where their specs are long."""
    control = control_of(request)
    labels = [_label(text) for text in label or ()]
    which = JobFilter(state or (), labels, name, parameters_sha256, owner)
    async with control.concurrency.of(who.tenant) if which.is_searched_for else nullcontext():
        return await run_in_threadpool(_listed, control, who, which, number_of(cursor), limit)


def _listed(control: ControlPlane, who: Principal, which: JobFilter, before: int | None, limit: int) -> Response:
    rows = control.store.list(who.tenant, which, before, limit + 1)
    is_full = sum(row.job.plan_bytes for row in rows) >= PAGE_BYTES
    page, next_cursor = page_of(rows, limit, attrgetter("job.number"), is_full)
    items = [_shown(control, row.job, row.plan) for row in page if row.plan is not None]
    return JobPage(items=items, next_cursor=next_cursor).answer()


def _label(text: str) -> tuple[str, str | None]:
    """`key=value` or `key:value`; a key alone means any value."""
    found = LABEL.fullmatch(text)
    if found is None:
        raise InvalidInput.of("label", text, "key=value, or a key alone")
    return found[1], found[2]


@router.get("/{job_id}", response_model=Job, responses=errors(404, 422, 503))
def get_job(request: Request, job_id: JobId, who: Reader) -> Response:
    """Show a job."""
    control = control_of(request)
    job = control.store.get(who.tenant, job_id)
    return _shown(control, job, job.plan).answer()


@router.delete("/{job_id}", status_code=204, responses=errors(404, 409, 422, 503))
def delete_job(job_id: JobId, who: Submitter, control: Control) -> None:
    """Remove an ended job and its files."""
    with control.folder.in_doubt(job_id):
        control.store.delete(who.tenant, job_id)
        control.models.forget(job_id)
        control.folder.remove_job(job_id)


@router.post("/{job_id}/cancel", status_code=202, responses=errors(404, 409, 422, 503))
def cancel_job(job_id: JobId, who: Submitter, control: Control) -> Job:
    """Stop a job for good. Of one that runs 202 says that it will not succeed, even where it is at its very end."""
    return _requested(control, who.tenant, job_id, "cancel")


@router.post("/{job_id}/pause", status_code=202, responses=errors(404, 409, 422, 503))
def pause_job(job_id: JobId, who: Submitter, control: Control) -> Job:
    """Stop a running job at its next step; it keeps its place."""
    return _requested(control, who.tenant, job_id, "pause")


@router.post("/{job_id}/resume", status_code=202, responses=errors(404, 409, 422, 503))
def resume_job(job_id: JobId, who: Submitter, control: Control) -> Job:
    """Let a paused job go on, as soon as it is given CPUs; it ends with the same bits as if it had never paused."""
    return _requested(control, who.tenant, job_id, "resume")


def _requested(control: ControlPlane, tenant: str, job_id: str, verb: Verb) -> Job:
    control.request(tenant, job_id, verb)
    job = control.store.get(tenant, job_id)
    return _shown(control, job, job.plan)


# ---------------------------------------------------------------- watching
@router.get(
    "/{job_id}/metrics",
    dependencies=[TURN],
    response_model_exclude_unset=True,
    responses=errors(404, 422, 429, 503),
)
def get_metrics(
    job_id: JobId,
    who: Reader,
    control: Control,
    after: Annotated[int, Query(ge=0, le=MAX_STEP, description="Only metrics of steps above this one.")] = 0,
    points: Annotated[
        int | None,
        Query(
            ge=2, le=LONG_PAGE, description="Only so many at most, evenly spread, those at the ends of epochs first."
        ),
    ] = None,
    limit: LongLimit = LONG_PAGE,
    cursor: Cursor = None,
) -> MetricPage:
    """List a job's metrics by step: one item an epoch, more for long epochs."""
    if points is not None:
        rows = control.store.metrics_spread(who.tenant, job_id, after, points)
        return MetricPage(items=[Metric.model_validate(row.data) for row in rows], next_cursor=None)
    rows = control.store.metrics_after(who.tenant, job_id, max(after, number_of(cursor) or 0), limit + 1)
    page, next_cursor = page_of(rows, limit, attrgetter("step"))
    return MetricPage(items=[Metric.model_validate(row.data) for row in page], next_cursor=next_cursor)


@router.get("/{job_id}/history", dependencies=[TURN], responses=errors(404, 422, 429, 503))
def get_history(
    job_id: JobId, who: Reader, control: Control, limit: LongLimit = LONG_PAGE, cursor: Cursor = None
) -> HistoryPage:
    """List a job's moves from state to state, oldest first."""
    rows, _ = control.store.events_after(who.tenant, job_id, number_of(cursor) or 0, limit + 1, kind="state")
    page, next_cursor = page_of(rows, limit, attrgetter("seq"))
    return HistoryPage(items=[_move(row.data) for row in page], next_cursor=next_cursor)


def _move(data: dict[str, Any]) -> HistoryItem:
    told = {name: data[name] for name in ("from", "to", "attempt")}
    return HistoryItem.model_validate(told | {"when": data["at"], "why": data["reason"]})


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events `state` (from, to, state, reason, attempt, at; of a start also workers: "
            "so many CPUs it is given), `workers` (workers, step, why, at: so many CPUs compute from that step on; "
            "before, members: the numbers of who did and who does; lost: whether somebody was lost), `progress` (as "
            "the job's, and its metrics) and `metrics` (an item of the job's metrics), each with JSON as its data and "
            "a number as its id. The stream ends with the job.",
            "content": {"text/event-stream": {"schema": {"description": "Events, one after the other."}}},
        },
        **errors(404, 422, 429, 503),
    },
)
async def watch_job(
    request: Request,
    job_id: JobId,
    who: Reader,
    control: Control,
    after: Annotated[int, Query(ge=0, le=MAX_STEP, description=AFTER)] = 0,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Follow a job: all its events so far, then those to come, until its end."""
    return await follow(request, job_id, who, control, max(after, event_number(last_event_id)), "events")


async def follow(
    request: Request, job_id: str, who: Principal, control: ControlPlane, after: int, what: What
) -> StreamingResponse:
    """A stream of what a job tells. Raises NotFound, or TooManyRequests."""
    await run_in_threadpool(control.store.state, who.tenant, job_id)
    control.feeds.check_room(who.tenant)
    connection = request.scope.get("state", {}).get("connection", lambda: None)()
    send = sends_nothing if connection is None else partial(connection.send_chunk, connection.cycle)
    told = control.feeds.stream(who.tenant, job_id, after, recheck(request), what, send)
    return StreamingResponse(told, media_type="text/event-stream", headers=EVENT_STREAM_HEADERS)


def event_number(text: str | None) -> int:
    """The number that a Last-Event-ID stands for. Raises InvalidInput."""
    if not text:
        return 0
    if not EVENT_ID.fullmatch(text):
        raise InvalidInput.of("Last-Event-ID", text, "the id of an event of this job: a number")
    return int(text)
