"""Models: the file that a job ends with, and predictions by it."""

import re

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from service.auth import Reader
from service.control import ControlPlane
from service.errors import problem
from service.examples import ROWS
from service.field_errors import validated
from service.jobs import JobState
from service.json_body import RowsBody
from service.openapi import errors, headers, json_body
from service.routes.parameters import TURN, Control, JobId
from service.views import Predictions, PredictRequest
from shared.errors import Conflict, NotFound, shown

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["models"])


KEPT = "private, no-cache"  # by who asked alone, who asks each time whether it is still there for them
OF_FILE = {"ETag": "What tells one file from another.", "Content_Disposition": "What to call it: the job's id."}
RANGE = re.compile(rb"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-[0-9]{1,18})", re.IGNORECASE)


class ModelFile(FileResponse):
    """A file of which one range may be asked for: of several at once nobody has use, but who means harm. What is no
    range is ignored, as RFC 9110 has it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range" or _is_a_range(value)]
        is_refused = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start" and message["status"] == 416:
                is_refused = True
                await self._refusal(Request(scope), Headers(raw=message["headers"]))(scope, receive, send)
            elif not is_refused:
                await send(message)

        await super().__call__({**scope, "headers": headers}, receive, send_or_refuse)

    @staticmethod
    def _refusal(request: Request, headers: Headers) -> Response:
        """Starlette's 416, as a problem document."""
        reaches = headers["content-range"]  # bytes */4096
        detail = f"got Range: {shown(request.headers['range'])}, expected a range within {reaches[8:]} bytes"
        return problem(request, 416, detail, headers={"Content-Range": reaches})


def _is_a_range(value: bytes) -> bool:
    found = RANGE.fullmatch(value)
    return found is not None and (not found[2] or int(found[1]) <= int(found[2]))


@router.get(
    "/model",
    response_class=FileResponse,
    responses={
        200: {
            "description": "A safetensors file: tensors `layers.0.weights` (inputs × outputs), `layers.0.bias`, …, the "
            "output layer last; its metadata hold spec, preprocessing, classes and digest.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "headers": headers(**OF_FILE),
        },
        206: {
            "description": "The part that `Range` asks for. Where it asks for several, or is none, the whole file is "
            "sent.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "headers": headers(**OF_FILE, Content_Range="Which bytes, of how many."),
        },
        304: {
            "description": "Who asks has it: `If-None-Match` names its `ETag`.",
            "headers": headers(ETag=OF_FILE["ETag"]),
        },
        **errors(404, 409, 416, 422, 503),
    },
)
def get_model(request: Request, job_id: JobId, who: Reader, control: Control) -> Response:
    """Download the model of a job that has succeeded."""
    check_succeeded(control, who.tenant, job_id)
    path = control.folder.model(job_id)
    try:
        there = path.stat()
    except FileNotFoundError:
        raise NotFound(f"the model of {job_id} is gone from the disk") from None
    file = ModelFile(
        path,
        media_type="application/octet-stream",
        filename=f"{job_id}.safetensors",
        headers={"Cache-Control": KEPT},
        stat_result=there,
    )
    if _has(request.headers.get("if-none-match", ""), file.headers["etag"]):
        return Response(status_code=304, headers={"ETag": file.headers["etag"], "Cache-Control": KEPT})
    return file


def _has(if_none_match: str, etag: str) -> bool:
    """Whether who asks has the file of that tag."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


async def _has_model(job_id: JobId, who: Reader, control: Control) -> None:
    """Checks it before a body of megabytes is read."""
    await run_in_threadpool(check_succeeded, control, who.tenant, job_id)


@router.post(
    "/predict",
    dependencies=[TURN, Depends(_has_model)],
    response_model_exclude_unset=True,
    responses=errors(400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=json_body(PredictRequest, ROWS),
)
def predict(job_id: JobId, data: RowsBody, _who: Reader, control: Control) -> Predictions:
    """Predict up to 10,000 rows, in at most 32 MiB of JSON, with the model of a job that has succeeded; with more than
    100 classes or targets as many as have a million probabilities, or numbers, together, and of long names as many as
    repeat 64 MiB of them."""
    rows = validated(PredictRequest, data).rows
    model = control.models.get(job_id, control.folder.model(job_id))
    return Predictions.model_validate({"predictions": model.predict(rows)})


def check_succeeded(control: ControlPlane, tenant: str, job_id: str) -> None:
    """Raises NotFound, or Conflict while the job has no model."""
    job = control.store.get(tenant, job_id)
    if job.state != JobState.SUCCEEDED:
        raise Conflict(f"the job is {job.state}: it has a model only once it has succeeded")
