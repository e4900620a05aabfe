"""What the service answers, as typed objects.

Each is made from the answer's JSON, which it keeps as `json`: what a newer service adds is there too. What an older
one leaves out is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, Self

__all__ = [
    "TERMINAL_STATES",
    "Checkpoint",
    "Cluster",
    "Column",
    "Dataset",
    "Event",
    "Histogram",
    "JobError",
    "JobRecord",
    "JobState",
    "Key",
    "LogLine",
    "MadeKey",
    "Metric",
    "Move",
    "Node",
    "Plan",
    "Prediction",
    "Progress",
    "QueuePlace",
    "SigninLink",
    "Version",
    "WhoAmI",
    "time_of",
]

JobState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
TERMINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})

Json = Mapping[str, Any]


def time_of(text: str | None) -> Any:
    """An RFC 3339 time, or None."""
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Part of an answer."""

    json: Json = field(repr=False, compare=False)
    """The answer itself."""

    @classmethod
    def of(cls, json: Json) -> Self:
        """From the answer's JSON."""
        return cls._of(json)

    @classmethod
    def _of(cls, json: Json, **read: Any) -> Self:
        """The fields in `read` are given; the others stand in the JSON as they are."""
        return cls(**_values(cls, json, read))


def _values(cls: type[Any], json: Json, read: Json) -> dict[str, Any]:
    return {each.name: json.get(each.name) for each in fields(cls) if each.init} | {"json": json} | dict(read)


# ---------------------------------------------------------------- data sets
@dataclass(frozen=True, kw_only=True)
class Column(Record):
    """One column of a data set and its profile; what does not apply to its type is None."""

    name: str
    type: str
    missing: int
    min: float | int | str | None
    max: float | int | str | None
    mean: float | None
    distinct: int | None
    most_common: list[str] | None
    shape: list[int] | None
    dtype: str | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """A table that the service keeps."""

    id: str
    name: str
    version: int
    rows: int
    size_bytes: int
    sha256: str
    created_at: datetime
    columns: tuple[Column, ...] = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        columns = tuple(Column.of(column) for column in json["columns"])
        return cls._of(json, columns=columns, created_at=time_of(json["created_at"]))


@dataclass(frozen=True, kw_only=True)
class Histogram(Record):
    """How the values of one column are spread; missing ones are not counted."""

    column: str
    rows: int
    """Rows that were looked at: all, or a million, evenly chosen."""
    edges: list[float] | None
    """Of numbers and integers: bounds of the bars, one more than there are bars."""
    values: list[str] | None
    """Of categories and booleans: the most frequent values, 50 at most, the most frequent first."""
    counts: list[int]
    """Rows in each bar, or with each value."""
    others: int | None
    """Of a category: rows with a value that is not listed."""


# ---------------------------------------------------------------- jobs
@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """How far a job is; `eta_s` is None as long as nothing is known."""

    fraction: float
    step: int
    steps: int
    epoch: int
    epochs: int
    eta_s: float | None


@dataclass(frozen=True, kw_only=True)
class QueuePlace(Record):
    """Where a job stands that waits: `position` is 1 for the next; the start is None where it cannot be told."""

    position: int
    estimated_start_at: datetime | None

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, estimated_start_at=time_of(json["estimated_start_at"]))


@dataclass(frozen=True, kw_only=True)
class JobError(Record):
    """Why a job failed."""

    type: str
    detail: str


@dataclass(kw_only=True, eq=False)
class JobRecord:
    """A job: its spec with every default filled in, and how it was doing when it was last asked for."""

    id: str
    name: str
    state: JobState
    reason: str | None
    """Why it waits, is paused, failed or was cancelled, in words."""
    progress: Progress = field(repr=False)
    latest_metrics: dict[str, float | None] = field(repr=False)
    """The latest of each metric; at the end those of the weights that were kept."""
    spec: dict[str, Any] = field(repr=False)
    labels: dict[str, str] = field(repr=False)
    priority: int = field(repr=False)
    dataset_id: str = field(repr=False)
    dataset_sha256: str = field(repr=False)
    workers: int = field(repr=False)
    attempt: int = field(repr=False)
    inputs: int = field(repr=False)
    """Of the network: numbers that a row becomes."""
    outputs: int = field(repr=False)
    parameters: int = field(repr=False)
    parameters_sha256: str | None = field(repr=False)
    """SHA-256 over the trained parameters; None until the job has succeeded."""
    environment: dict[str, Any] = field(repr=False)
    notes: list[str] = field(repr=False)
    error: JobError | None = field(repr=False)
    queue: QueuePlace | None = field(repr=False)
    """Where it stood while it waited for CPUs; None otherwise."""
    owner: str | None = field(repr=False)
    """Who submitted it: the name of the key that it came with; None of a job from before this was kept."""
    created_at: datetime = field(repr=False)
    started_at: datetime | None = field(repr=False)
    finished_at: datetime | None = field(repr=False)
    json: Json = field(repr=False)
    """The service's answer itself."""

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded, failed or been cancelled: then it stays as it is."""
        return self.state in TERMINAL_STATES

    @staticmethod
    def values(json: Json) -> dict[str, Any]:
        """The fields, from the answer's JSON."""
        read = {
            "progress": Progress.of(json["progress"]),
            "latest_metrics": json["metrics"],
            "error": JobError.of(json["error"]) if json["error"] else None,
            "queue": QueuePlace.of(json["queue"]) if json.get("queue") else None,
            **{name: time_of(json[name]) for name in ("created_at", "started_at", "finished_at")},
        }
        return _values(JobRecord, json, read)


@dataclass(frozen=True, kw_only=True)
class Plan(Record):
    """What a dry run answers: the spec completed, and what training it would cost."""

    spec: dict[str, Any] = field(repr=False)
    inputs: int
    outputs: int
    classes: int | None
    parameters: int
    training_rows: int
    validation_rows: int
    steps_per_epoch: int
    steps: int
    memory_bytes: int
    disk_bytes: int
    notes: list[str]


Metric = dict[str, Any]
"""One line of a job's metrics: step, epoch, elapsed_s, train_loss, learning_rate, samples_per_s, validation_…"""


@dataclass(frozen=True, kw_only=True)
class Move(Record):
    """One move of a job from a state (None for the first) to another, or trouble while it runs."""

    from_: JobState | None
    to: JobState
    when: datetime
    why: str
    attempt: int

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, from_=json["from"], when=time_of(json["when"]))


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Record):
    """The state of a training that an attempt can go on from."""

    step: int
    """Steps that were done."""
    sha256: str
    """SHA-256 of its bytes."""


@dataclass(frozen=True, kw_only=True)
class LogLine(Record):
    """One line of a job's log; `seq` tells the lines apart, and what comes after which."""

    seq: int
    at: datetime | None
    level: Literal["info", "warning", "error"]
    source: str
    message: str
    attempt: int

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, at=time_of(json["at"]))


@dataclass(frozen=True)
class Event:
    """One event of a job: `state`, `workers`, `progress` or `metrics`; `id` is what resumes the stream after it."""

    type: str
    data: Mapping[str, Any]
    id: str


# ---------------------------------------------------------------- models, and the service
@dataclass(frozen=True, kw_only=True)
class Prediction(Record):
    """What a model says about one row; `probabilities` by class for a classification, else None."""

    value: Any
    """A class, or a number; of several targets an object by target."""
    probabilities: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class Node(Record):
    """One machine of the cluster."""

    id: str
    address: str
    cpus: float
    cpus_free: float
    memory_bytes: int
    blas_kernel: str | None


@dataclass(frozen=True, kw_only=True)
class Cluster(Record):
    """The machines that train."""

    nodes: tuple[Node, ...]
    cpus: int
    cpus_free: int
    blas_kernel: str | None

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, nodes=tuple(Node.of(node) for node in json["nodes"]))


# ---------------------------------------------------------------- keys
@dataclass(frozen=True, kw_only=True)
class Key(Record):
    """A key, without the key itself."""

    id: str
    name: str
    tenant: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, json: Json) -> Self:
        times = ("created_at", "expires_at", "revoked_at")
        return cls._of(json, **{name: time_of(json[name]) for name in times})


@dataclass(frozen=True, kw_only=True)
class MadeKey(Key):
    """A key that was just made, and is told this once."""

    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class WhoAmI(Record):
    """Whose key is sent, and what it allows."""

    tenant: str
    scopes: list[str]
    key: dict[str, str]
    """Its id and name."""


@dataclass(frozen=True, kw_only=True)
class SigninLink(Record):
    """What opens the page signed in, once."""

    code: str = field(repr=False)
    path: str
    expires_at: datetime

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, expires_at=time_of(json["expires_at"]))


@dataclass(frozen=True, kw_only=True)
class Version(Record):
    """Which service answers."""

    version: str
    api: str
    python: str
    ray: str
