"""Jobs as they are submitted: many at once become rows of the database in a few statements."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.database import datasets, events, idempotency_keys, job_labels, jobs, plans
from service.jobs import MOVES, JobState, state_event
from service.patience import Patience
from service.quota import model_bytes, plan_bytes
from service.tenants import check_room_for_job, stored_before
from service.webhooks.outbox import announce
from shared.errors import Conflict, InvalidInput
from shared.plan import Plan
from shared.spec import JobSpec

__all__ = ["WHOLE", "Added", "NewJob", "Refusal", "add_all", "by_idempotency_key", "digest_of_request", "job_of_key"]

FIRST_REASON = "waits for its turn to be given CPUs"
NO_PROGRESS = {"fraction": 0.0, "step": 0, "epoch": 0, "eta_s": None}

# Made once, as to make a statement takes longer than to have it answered.
INSERT = sa.insert(jobs)
WHOLE = sa.select(jobs, plans.c.plan).join_from(jobs, plans)  # a job with its plan
IS_NEW = jobs.c.id.in_(sa.bindparam("ids", expanding=True))
NUMBERS = sa.select(jobs.c.id, jobs.c.number, jobs.c.tenant).where(IS_NEW).order_by(jobs.c.number)
INSERTED = WHOLE.where(IS_NEW)
THERE = (
    sa.select(datasets.c.tenant, datasets.c.id)
    .where(datasets.c.id.in_(sa.bindparam("ids", expanding=True)))
    .with_for_update(read=True)
)

JobRow = Row[Any]
Added = tuple[JobRow, bool]
"""A job, and whether it is new."""
Refusal = InvalidInput | Conflict


@dataclass(frozen=True)
class NewJob:
    """A job to be queued."""

    id: str
    tenant: str
    plan: Plan
    dataset_id: str
    dataset_sha256: str
    validation_dataset_id: str | None = None
    idempotency_key: str | None = None
    request_sha256: str = ""
    submitted_by: str | None = None  # the name of the key that it came with
    may_store: int | None = None  # by its tenant's quota: bytes
    plan_bytes: int = field(init=False)
    """What its plan counts for: counted here, as to count takes long, and who stores it keeps others waiting."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan_bytes", plan_bytes(self.plan))

    @cached_property
    def model_bytes(self) -> int:
        """What its model will count for."""
        return model_bytes(self.plan.parameters, self.plan.spec.dtype)


def digest_of_request(spec: JobSpec) -> str:
    """What tells two requests with the same idempotency key apart: what they ask for besides the defaults, so that a
    field which is new since the first one came, and which the second does not name, makes no other request of it."""
    asked = spec.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def add_all(
    connection: Connection, batch: Sequence[NewJob], moment: str, patience: Patience
) -> Sequence[Added | Refusal]:
    """Inserts those that are new, and tells of each what came of it, or with what it is refused. `moment` is now."""
    outcomes: dict[str, Added | Refusal] = {}
    fresh: list[NewJob] = []
    keys: set[tuple[str, str]] = set()
    missing = _missing_datasets(connection, batch)
    stored = stored_before(connection, {new.tenant for new in batch if new.may_store is not None})
    for new in batch:
        try:
            known = by_idempotency_key(connection, new)
            if known is not None:
                outcomes[new.id] = known, False
                continue
            _check_datasets(new, missing)
            if new.idempotency_key is not None and (new.tenant, new.idempotency_key) in keys:
                continue  # of two that came at once with one key, the first one is inserted
            _take_room(new, stored)
        except (InvalidInput, Conflict) as error:
            outcomes[new.id] = error
            continue
        if new.idempotency_key is not None:
            keys.add((new.tenant, new.idempotency_key))
        fresh.append(new)
    outcomes |= {job.id: (job, True) for job in _insert(connection, fresh, moment, patience)}
    for new in batch:
        if new.id not in outcomes:
            outcomes[new.id] = _repeated(connection, new)
    return [outcomes[new.id] for new in batch]


def _repeated(connection: Connection, new: NewJob) -> Added | Refusal:
    """The job that the same key has just made."""
    try:
        known = by_idempotency_key(connection, new)
    except InvalidInput as error:
        return error
    assert known is not None, "inserted by this transaction"
    return known, False


def _insert(connection: Connection, batch: Sequence[NewJob], moment: str, patience: Patience) -> Sequence[JobRow]:
    if not batch:
        return []
    # Without RETURNING it is one short statement, which the driver has prepared, for a row after the other.
    limits_s = {limit_s for new in batch if (limit_s := new.plan.spec.max_wait_s) is not None}
    until: dict[float | None, str] = {limit_s: patience.until(connection, limit_s) for limit_s in limits_s}
    connection.execute(INSERT, [_values(new, moment, until.get(new.plan.spec.max_wait_s)) for new in batch])
    ids = {"ids": [new.id for new in batch]}
    made = connection.execute(NUMBERS, ids).all()
    numbers = {job.id: job.number for job in made}
    rows = [{"job_number": numbers[new.id], "plan": new.plan.model_dump(mode="json")} for new in batch]
    connection.execute(sa.insert(plans), rows)
    told = state_event(None, JobState.QUEUED, MOVES[None, JobState.QUEUED], 1, moment)
    first = {"seq": 1, "type": "state", "data": told, "at": moment}
    connection.execute(sa.insert(events), [{"job_number": number, **first} for number in numbers.values()])
    labels = [
        {"job_number": numbers[new.id], "key": key, "value": value}
        for new in batch
        for key, value in new.plan.spec.labels.items()
    ]
    if labels:
        connection.execute(sa.insert(job_labels), labels)
    announce(connection, made, 1, told)
    keys = [
        {
            "tenant": new.tenant,
            "key": new.idempotency_key,
            "request_sha256": new.request_sha256,
            "job_number": numbers[new.id],
        }
        for new in batch
        if new.idempotency_key is not None
    ]
    if keys:
        connection.execute(sa.insert(idempotency_keys), keys)
    return connection.execute(INSERTED, ids).all()


def _values(new: NewJob, moment: str, wait_until: str | None) -> dict[str, Any]:
    """The row of a job that is queued."""
    spec = new.plan.spec
    return {
        "id": new.id,
        "tenant": new.tenant,
        "name": spec.name,
        "state": JobState.QUEUED,
        "reason": FIRST_REASON,
        "priority": spec.priority,
        "cpus_min": min(spec.workers.min, spec.shards),
        "cpus_max": min(spec.workers.max, spec.shards),
        "model_bytes": new.model_bytes,
        "plan_bytes": new.plan_bytes,
        "dataset_id": new.dataset_id,
        "validation_dataset_id": new.validation_dataset_id,
        "dataset_sha256": new.dataset_sha256,
        "epochs": spec.epochs,
        "steps_per_epoch": new.plan.steps_per_epoch,
        "attempt": 1,
        "losses": 0,
        "workers": 0,
        "progress": {**NO_PROGRESS, "steps": new.plan.steps, "epochs": spec.epochs},
        "metrics": {},
        "environment": {},
        "last_event": 1,
        "submitted_by": new.submitted_by,
        "created_at": moment,
        "wait_until": wait_until,
    }


def _missing_datasets(connection: Connection, batch: Sequence[NewJob]) -> set[tuple[str, str]]:
    """Tenant and id of those that are gone; the others are held in place until the jobs that use them are committed."""
    needed = {
        (new.tenant, dataset_id)
        for new in batch
        for dataset_id in (new.dataset_id, new.validation_dataset_id)
        if dataset_id is not None
    }
    found = connection.execute(THERE, {"ids": sorted({dataset_id for _, dataset_id in needed})})
    return needed - {(tenant, dataset_id) for tenant, dataset_id in found}


def _check_datasets(new: NewJob, missing: set[tuple[str, str]]) -> None:
    for path, dataset_id in {"dataset": new.dataset_id, "validation.dataset": new.validation_dataset_id}.items():
        if dataset_id is not None and (new.tenant, dataset_id) in missing:
            raise InvalidInput.of(path, dataset_id, "a data set; this one has just been deleted")


def _take_room(new: NewJob, stored: dict[str, int]) -> None:
    """Counts a job to what its tenant has stored. Raises Conflict where that is more than it may have."""
    if new.tenant in stored:
        size_bytes = new.model_bytes + new.plan_bytes
        if new.may_store is not None:
            check_room_for_job(size_bytes, stored[new.tenant], new.may_store)
        stored[new.tenant] += size_bytes


# ---------------------------------------------------------------- idempotency keys
def by_idempotency_key(connection: Connection, new: NewJob) -> JobRow | None:
    """The job that the key of this one made before. Raises InvalidInput when it came with another request."""
    if new.idempotency_key is None:
        return None
    return job_of_key(connection, new.tenant, new.idempotency_key, new.request_sha256)


def job_of_key(connection: Connection, tenant: str, key: str, request_sha256: str) -> JobRow | None:
    """The job that a key made. Raises InvalidInput when it came with another request."""
    sent = idempotency_keys.c.tenant == tenant, idempotency_keys.c.key == key
    query = sa.select(jobs, plans.c.plan, idempotency_keys.c.request_sha256)
    query = query.select_from(idempotency_keys.join(jobs).join(plans)).where(*sent)
    found = connection.execute(query).one_or_none()
    if found is not None and found.request_sha256 != request_sha256:
        expected = f"a key that was not used before: with this one another spec was sent, which made {found.id}"
        raise InvalidInput.of("Idempotency-Key", key, expected)
    return found
