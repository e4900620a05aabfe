"""What the API answers: the JSON of jobs, data sets and the rest, every field described."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from sqlalchemy import Row
from starlette.responses import Response

from service.jobs import JobState
from service.places import Place
from shared.errors import InvalidInput

__all__ = [
    "REFERS_TO",
    "CheckpointPage",
    "Dataset",
    "DatasetPage",
    "DryRun",
    "Histogram",
    "HistogramPage",
    "HistoryItem",
    "HistoryPage",
    "Job",
    "JobPage",
    "KeptCheckpoint",
    "Metric",
    "MetricPage",
    "PredictRequest",
    "Predictions",
    "Preview",
    "View",
    "name_of",
    "number_of",
    "page_of",
]

REFERS_TO = "x-refers-to"  # in the schema of what is passed on as it is: the model that it is of

SpecJson = Annotated[dict[str, Any], WithJsonSchema({"type": "object", REFERS_TO: "JobSpec"})]
ColumnJson = Annotated[dict[str, Any], WithJsonSchema({"type": "object", REFERS_TO: "Column"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T10:15:00.000000Z"])]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=["9f86d081884c7d65" * 4])]
NUMBER = re.compile("[0-9]{1,18}")

Item = TypeVar("Item")

NextCursor = Annotated[
    str | None, Field(description="What to send as `cursor` for the next page; null at the end.", examples=["MTI"])
]


class View(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    def answer(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """The answer that shows it. An endpoint that returns the view itself has it checked a second time, in a thread
        of its own."""
        return Response(self.model_dump_json(by_alias=True), status, headers, media_type="application/json")


# ---------------------------------------------------------------- jobs
class Progress(View):
    """How far a job is."""

    fraction: Annotated[float, Field(ge=0, le=1, examples=[0.42])]
    """Share of the steps that are done."""
    step: Annotated[int, Field(examples=[1068])]
    """Steps done."""
    steps: Annotated[int, Field(examples=[2540])]
    """Steps in all, if nothing stops the job early."""
    epoch: Annotated[int, Field(examples=[8])]
    """Epochs done."""
    epochs: Annotated[int, Field(examples=[20])]
    """Epochs in all, if nothing stops the job early."""
    eta_s: Annotated[float | None, Field(examples=[3.1])]
    """Seconds until the end, estimated; null as long as nothing is known."""


class QueuePlace(View):
    """Where a job stands that waits."""

    position: Annotated[int, Field(ge=1, examples=[3])]
    """1 for the one that is served next; counts the jobs of all tenants before it."""
    estimated_start_at: Annotated[str | None, Field(json_schema_extra={"format": "date-time"})]
    """When it will start, about; null where that cannot be told."""


class JobError(View):
    """Why a job failed."""

    type: Annotated[str, Field(examples=["Diverged"])]
    """The kind of error."""
    detail: Annotated[str, Field(examples=["diverged at step 12: the loss is no longer a finite number"])]
    """What happened, and what to do about it."""


class Job(View):
    """A job: its spec with every default filled in, and how it is doing."""

    id: Annotated[str, Field(examples=["job_01K9T4Z3N7J5W8QH2M6RVYBXCD"])]
    """Made by the service."""
    name: Annotated[str, Field(examples=["adult-income"])]
    """As in the spec; for people."""
    state: JobState
    """queued → running → succeeded, failed or cancelled; running ⇄ paused; running → queued for another attempt. A job
    that was preempted is paused, and resumes by itself."""
    reason: Annotated[str | None, Field(examples=["waits for a free CPU: needs 1, 0 of 2 are free"])]
    """Why it waits, is paused, failed or was cancelled, in words."""
    spec: SpecJson
    """The spec, every default filled in."""
    labels: Annotated[dict[str, str], Field(examples=[{"team": "risk"}])]
    """As in the spec; lists can be filtered by them."""
    priority: Annotated[int, Field(examples=[0])]
    """As in the spec; higher starts first, and lower gives way."""
    dataset_id: Annotated[str, Field(examples=["ds_01K9T4Z3N7J5W8QH2M6RVYBXCD"])]
    """The data set that it trains on: that which the spec's name meant when the job was submitted."""
    dataset_sha256: Digest
    """SHA-256 of that data set's bytes."""
    progress: Progress
    """How far it is."""
    metrics: Annotated[dict[str, float | None], Field(examples=[{"train_loss": 0.31, "validation_accuracy": 0.85}])]
    """The latest of each metric; at the end those of the weights that were kept."""
    workers: Annotated[int, Field(examples=[2])]
    """Gradient workers that compute now, or did last; 0 while it is queued. Changes between the spec's `min` and `max`
    as CPUs become free or jobs of higher priority need them; never changes the result."""
    attempt: Annotated[int, Field(ge=1, examples=[1])]
    """Counts up when an attempt was lost and the job goes on from its newest checkpoint."""
    inputs: Annotated[int, Field(examples=[105])]
    """Width of the network's input: one for a number, one for each category, one for each element of a tensor."""
    outputs: Annotated[int, Field(examples=[1])]
    """Width of its output: one for two classes or a regression's target, else one for each class."""
    parameters: Annotated[int, Field(examples=[9025])]
    """Weights and biases of the network."""
    parameters_sha256: Digest | None
    """SHA-256 over the trained parameters; null until the job has succeeded."""
    environment: Annotated[dict[str, Any], Field(examples=[{"blas_kernel": "SkylakeX", "version": "0.1.0"}])]
    """What the bits depend on besides spec and data; empty until the first attempt computes."""
    notes: Annotated[list[str], Field(examples=[["features: 'day' is left out: timestamps cannot be learned from"]])]
    """What a user might not expect, in words."""
    queue: QueuePlace | None
    """Where it stands while it waits for CPUs, first or again; null otherwise. A second or two old."""
    owner: Annotated[str | None, Field(examples=["the nightly jobs"])]
    """Who submitted it: the name of the key that it came with, or that the session was opened with. Null of a job from
    before this was kept."""
    created_at: Time
    """When it was submitted."""
    started_at: Time | None
    """When it first got CPUs."""
    finished_at: Time | None
    """When it ended."""
    error: JobError | None
    """Why it failed; null otherwise."""

    @classmethod
    def of(cls, job: Row[Any], plan: Mapping[str, Any], place: Place | None) -> "Job":
        """From the job's row in the database, its plan, and where it stands if it waits."""
        named_alike = dict(zip(job._fields, job, strict=True))  # by far the fastest way to a row's values
        return cls.model_validate(
            named_alike  # but for `owner`, which there is the control plane that runs the job
            | {"spec": plan["spec"], "labels": plan["spec"]["labels"], "owner": job.submitted_by}
            | {"queue": None if place is None else place._asdict()}
            | {name: plan[name] for name in ("inputs", "outputs", "parameters", "notes")}
        )


class DryRun(View):
    """What a dry run answers: the spec completed, and what training it would cost."""

    spec: SpecJson
    """The spec, every default filled in: task, loss and features too."""
    inputs: Annotated[int, Field(examples=[105])]
    """Width of the network's input: one for a number, one for each category, one for each element of a tensor."""
    outputs: Annotated[int, Field(examples=[1])]
    """Width of its output: one for two classes or a regression's target, else one for each class."""
    classes: Annotated[int | None, Field(examples=[2])]
    """Number of classes; null for a regression."""
    parameters: Annotated[int, Field(examples=[9025])]
    """Weights and biases in all."""
    training_rows: Annotated[int, Field(examples=[29305])]
    """Rows that are trained on."""
    validation_rows: Annotated[int, Field(examples=[3256])]
    """Rows that are validated on."""
    steps_per_epoch: Annotated[int, Field(examples=[115])]
    """Batches in an epoch."""
    steps: Annotated[int, Field(examples=[2300])]
    """Batches in all, if nothing stops the job early."""
    memory_bytes: Annotated[int, Field(examples=[250_000_000])]
    """Estimate of the private memory of all the job's processes together."""
    disk_bytes: Annotated[int, Field(examples=[14_000_000])]
    """Estimate of the disk that prepared data and checkpoints take while the job runs."""
    notes: Annotated[list[str], Field(examples=[[]])]
    """What a user might not expect, in words: columns left out, for example."""


class HistoryItem(View):
    """One move of a job from a state to another, or trouble while it runs, where both are `running`."""

    from_: Annotated[JobState | None, Field(alias="from")]
    """The state before; null for the first move."""
    to: JobState
    """The state after."""
    when: Time
    """When it moved."""
    why: Annotated[str, Field(examples=["started on 2 CPUs"])]
    """Why it moved."""
    attempt: Annotated[int, Field(ge=1, examples=[1])]
    """The attempt that it was at after the move."""


class Metric(View):
    """What was measured after an epoch, or, in a long one, on the way."""

    model_config = ConfigDict(extra="allow")

    step: Annotated[int, Field(examples=[127])]
    """Steps done."""
    epoch: Annotated[int, Field(examples=[1])]
    """The epoch."""
    elapsed_s: Annotated[float, Field(examples=[0.4])]
    """Seconds of training so far."""
    train_loss: Annotated[float | None, Field(examples=[0.42])] = None
    """The optimized loss over the rows trained on since the last item."""
    learning_rate: Annotated[float | None, Field(examples=[0.001])] = None
    """The rate of the last step."""
    samples_per_s: Annotated[float | None, Field(examples=[141000.0])] = None
    """Rows trained on a second."""
    validation_loss: Annotated[float | None, Field(examples=[0.4])] = None
    """The optimized loss over the validation rows; left out without validation, as are those below."""
    validation_accuracy: Annotated[float | None, Field(examples=[0.85])] = None
    """Share of the validation rows whose class is right (classification)."""
    validation_auc: Annotated[float | None, Field(examples=[0.91])] = None
    """Area under the ROC curve (two classes)."""
    validation_rmse: Annotated[float | None, Field(examples=[0.7])] = None
    """Root of the mean squared error, in the target's own units (regression)."""
    validation_mae: Annotated[float | None, Field(examples=[0.55])] = None
    """Mean absolute error, in the target's own units (regression)."""
    validation_r2: Annotated[float | None, Field(examples=[0.36])] = None
    """Coefficient of determination (regression)."""


class KeptCheckpoint(View):
    """The state of a training that an attempt can go on from."""

    step: Annotated[int, Field(examples=[1068])]
    """Steps that were done."""
    sha256: Digest
    """SHA-256 of its bytes."""


# ---------------------------------------------------------------- data sets
class Dataset(View):
    """A table that the service keeps."""

    id: Annotated[str, Field(examples=["ds_01K9T4Z3N7J5W8QH2M6RVYBXCD"])]
    """Made by the service."""
    name: Annotated[str, Field(examples=["adult"])]
    """As uploaded; a name means its newest version."""
    version: Annotated[int, Field(ge=1, examples=[1])]
    """Counts the data sets of that name."""
    rows: Annotated[int, Field(ge=0, examples=[32561])]
    """Number of rows."""
    size_bytes: Annotated[int, Field(ge=0, examples=[3551168])]
    """Size of what was uploaded, gzip undone."""
    sha256: Digest
    """SHA-256 of what was uploaded, gzip undone."""
    created_at: Time
    """When it was uploaded."""
    columns: list[ColumnJson]
    """Its columns and their profiles; what does not apply to a column's type is left out."""

    @classmethod
    def of(cls, dataset: Row[Any]) -> "Dataset":
        """From the data set's row in the database."""
        names = ("id", "name", "version", "rows", "size_bytes", "sha256", "created_at", "columns")
        return cls.model_validate({name: getattr(dataset, name) for name in names})


class Preview(View):
    """The first rows of a data set."""

    rows: Annotated[list[dict[str, Any]], Field(examples=[[{"age": 39, "workclass": "State-gov"}]])]
    """One object a row: null where a value is missing, nested lists for tensors."""


class Histogram(View):
    """How the values of one column are spread; missing ones are not counted."""

    column: Annotated[str, Field(examples=["age"])]
    """Its name."""
    rows: Annotated[int, Field(examples=[32561])]
    """Rows that were looked at: all, or a million, evenly chosen."""
    edges: Annotated[list[float] | None, Field(examples=[[17.0, 53.5, 90.0]])] = None
    """Number and integer: bounds of the bars, one more than there are bars."""
    values: Annotated[list[str] | None, Field(examples=[None])] = None
    """Category and boolean: the most frequent values, 50 at most, the most frequent first."""
    counts: Annotated[list[int], Field(examples=[[26900, 5661]])]
    """Rows in each bar, or with each value."""
    others: Annotated[int | None, Field(examples=[None])] = None
    """Category: rows with a value that is not listed."""


# ---------------------------------------------------------------- predictions
class PredictRequest(BaseModel):
    """Rows to predict."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True, frozen=True
    )

    rows: Annotated[
        list[dict[str, Any]], Field(min_length=1, max_length=10_000, examples=[[{"age": 39, "workclass": "Private"}]])
    ]
    """One object a row, with a value for every feature of the model; null where it is missing. For a model of more than
    100 classes or targets, a million divided by their number at most; of long names, as many as repeat 64 MiB of
    them."""


class Prediction(View):
    """What the model says of one row."""

    value: Annotated[Any, Field(examples=["<=50K"])]
    """The class; for a regression the number; with several targets an object by target."""
    probabilities: Annotated[dict[str, float] | None, Field(examples=[{"<=50K": 0.9, ">50K": 0.1}])] = None
    """By class; left out for a regression."""


class Predictions(View):
    """What the model says, row by row."""

    predictions: list[Prediction]
    """In the order of the rows."""


# ---------------------------------------------------------------- lists
class JobPage(View):
    """Jobs, newest first."""

    items: list[Job]
    """One page of them."""
    next_cursor: NextCursor


class DatasetPage(View):
    """Data sets, newest first."""

    items: list[Dataset]
    """One page of them."""
    next_cursor: NextCursor


class MetricPage(View):
    """A job's metrics, by step."""

    items: list[Metric]
    """One page of them."""
    next_cursor: NextCursor


class CheckpointPage(View):
    """A job's checkpoints, newest first."""

    items: list[KeptCheckpoint]
    """The newest two that are whole, mostly."""
    next_cursor: NextCursor


class HistogramPage(View):
    """Histograms, in the order of the columns; texts, timestamps and tensors have none."""

    items: list[Histogram]
    """One page of them."""
    next_cursor: NextCursor


class HistoryPage(View):
    """A job's moves, oldest first."""

    items: list[HistoryItem]
    """One page of them."""
    next_cursor: NextCursor


def page_of(
    rows: Sequence[Item], limit: int, place: Callable[[Item], int | str], is_full: bool = False
) -> tuple[Sequence[Item], str | None]:
    """A page of `rows`, of which one more than `limit` was asked for, and the cursor after it, made of the last one's
    `place`; None where no more are left: no more than `limit`, and it `is_full` by no other measure."""
    page = rows[:limit]
    if len(rows) <= limit and not is_full:
        return page, None
    return page, base64.urlsafe_b64encode(str(place(page[-1])).encode()).decode().rstrip("=")


def number_of(cursor: str | None) -> int | None:
    """The number that a cursor stands for. Raises InvalidInput for what we did not make."""
    return None if cursor is None else int(_place_of(cursor, NUMBER))


def name_of(cursor: str | None, pattern: re.Pattern[str]) -> str | None:
    """The name that a cursor stands for. Raises InvalidInput for what we did not make."""
    return None if cursor is None else _place_of(cursor, pattern)


def _place_of(cursor: str, pattern: re.Pattern[str]) -> str:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if not pattern.fullmatch(text):
            raise ValueError(text)
    except (ValueError, binascii.Error):
        raise InvalidInput.of("cursor", cursor, "a next_cursor of an earlier answer") from None
    return text
