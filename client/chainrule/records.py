"""What the service answers, as typed dictionaries: plain JSON objects whose keys a type checker knows.

Every key that the REST contract names is here; keys that a newer service adds are simply there too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar

__all__ = [
    "TERMINAL_STATES",
    "Cluster",
    "Column",
    "Dataset",
    "Event",
    "Job",
    "JobState",
    "Key",
    "MadeKey",
    "Metric",
    "Move",
    "Node",
    "Page",
    "Plan",
    "Prediction",
    "Progress",
    "SigninLink",
    "Version",
    "WhoAmI",
]

JobState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
TERMINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})

Item = TypeVar("Item")


class Column(TypedDict, total=False):
    """One column of a data set and its profile."""

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


class Dataset(TypedDict):
    """A table that the service keeps."""

    id: str
    name: str
    version: int
    rows: int
    size_bytes: int
    sha256: str
    created_at: str
    columns: list[Column]


class Progress(TypedDict):
    """How far a job is."""

    fraction: float
    step: int
    steps: int
    epoch: int
    epochs: int
    eta_s: float | None


class Job(TypedDict):
    """A job: its spec with every default filled in, and how it is doing."""

    id: str
    name: str
    state: JobState
    reason: str | None
    spec: dict[str, Any]
    dataset_sha256: str
    progress: Progress | None
    metrics: dict[str, float]
    workers: int | None
    attempt: int
    parameters: int | None
    parameters_sha256: str | None
    environment: dict[str, Any]
    created_at: str
    started_at: str | None
    finished_at: str | None
    error: Any


class Plan(TypedDict, total=False):
    """What a dry run answers: the spec completed, and what training it would cost."""

    spec: dict[str, Any]
    parameters: int
    training_rows: int
    validation_rows: int
    steps: int
    memory_bytes: int
    disk_bytes: int
    notes: list[str]


Metric = dict[str, Any]
"""One line of a job's metrics: step, epoch, elapsed_s, train_loss, learning_rate, samples_per_s, validation_…"""


Move = TypedDict(
    "Move",
    {"from": str | None, "to": str, "when": str, "why": str | None},
    total=False,
)
"""One move of a job from a state to another."""


class Prediction(TypedDict, total=False):
    """What a model says about one row; `probabilities` by class for a classification."""

    value: Any
    probabilities: dict[str, float]


class Node(TypedDict, total=False):
    """One machine of the cluster."""

    id: str
    cpus: float
    blas_kernel: str | None


class Cluster(TypedDict, total=False):
    """The machines that train."""

    nodes: list[Node]
    cpus: float


class Key(TypedDict):
    """A key, without the key itself."""

    id: str
    name: str
    tenant: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class MadeKey(Key):
    """A key that was just made, and is told this once."""

    key: str


class WhoAmI(TypedDict):
    """Whose key is sent, and what it allows."""

    tenant: str
    scopes: list[str]
    key: dict[str, str]


class SigninLink(TypedDict):
    """What opens the page signed in, once."""

    code: str
    path: str
    expires_at: str


class Version(TypedDict, total=False):
    """Which service answers."""

    version: str


@dataclass(frozen=True)
class Event:
    """One event of a job: `state`, `workers`, `progress` or `metrics`; `id` is what resumes the stream after it."""

    type: str
    data: Mapping[str, Any]
    id: str


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list, newest first, and the cursor of the next page (None at the end)."""

    items: list[Item]
    next_cursor: str | None

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
