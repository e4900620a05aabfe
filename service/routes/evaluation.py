"""How good models are, and the checkpoints that training goes on from."""

from fastapi import APIRouter

from service.auth import Reader
from service.evaluation import Evaluation
from service.openapi import errors
from service.routes.models import check_succeeded
from service.routes.parameters import TURN, Control, JobId
from service.views import CheckpointPage, KeptCheckpoint
from shared.errors import Conflict, NotFound, Unavailable
from shared.plan import Plan

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["models"])


@router.get(
    "/evaluation",
    dependencies=[TURN],
    response_model_exclude_unset=True,
    responses=errors(404, 409, 422, 429, 503),
)
def get_evaluation(job_id: JobId, who: Reader, control: Control) -> Evaluation:
    """Judge the model of a job that has succeeded, on the rows that it was validated on."""
    check_succeeded(control, who.tenant, job_id)
    job = control.store.get(who.tenant, job_id)
    spec = Plan.model_validate(job.plan).spec
    if spec.validation is None:
        raise Conflict("the job has no validation rows to judge its model on: its spec has no validation")
    dataset_id = job.validation_dataset_id or job.dataset_id
    try:
        table = control.catalog.table(who.tenant, dataset_id)
    except NotFound:
        raise NotFound(f"the rows to judge the model on are gone: data set {dataset_id} was deleted") from None
    model = control.models.get(job_id, control.folder.model(job_id))
    return control.evaluations.get(job_id, model, spec, table)


@router.get("/checkpoints", responses=errors(404, 422, 503))
def get_checkpoints(job_id: JobId, who: Reader, control: Control) -> CheckpointPage:
    """List the checkpoints that are kept of a job, newest first; none once it has succeeded."""
    control.store.get(who.tenant, job_id)
    try:
        kept = control.folder.checkpoints(job_id)
    except OSError as error:
        raise Unavailable(f"the checkpoints cannot be listed now: {error.strerror or error}") from error
    return CheckpointPage(items=[KeptCheckpoint(step=step, sha256=digest) for step, digest in kept], next_cursor=None)
