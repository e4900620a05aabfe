"""Jobs and their events in the database: the one place where a job's state changes.

A job's events are its history (`state`), its metrics and what `GET …/events` streams, numbered 1, 2, … a job. A job's
epoch counts up with each move and each new owner, and every change of a job that runs is made on the condition that the
epoch is still what the caller believes, in the statement itself: of two that race exactly one wins, and an owner that
was given up for dead cannot write. `service/leases.py` says when an owner is.

What users ask for names their tenant, and sees nothing of another one's. What runs jobs works for all tenants.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row, exc

from service.clock import later, next_after, now
from service.database import Database, events, idempotency_keys, job_labels, jobs, plans, tenants
from service.job_log import Line, keep_short, lines_after
from service.jobs import MOVES, Flag, JobState, Move, Requested, Verb, respond, state_event, waited_too_long
from service.kept_plans import KeptPlans
from service.owner import NOBODY, Owner
from service.patience import Patience
from service.queue import Queue
from service.submission import WHOLE, Added, NewJob, Refusal, add_all, by_idempotency_key, job_of_key
from service.webhooks.outbox import announce
from shared.errors import Conflict, NotFound

__all__ = ["PAGE_BYTES", "JobFilter", "JobRow", "Listed", "Store", "Told"]

IDS_AT_ONCE = 500  # in a statement, which may hold some thousands at most
ESCAPE, SPECIAL = "/", re.compile("[/%_]")  # in a part of a name, where `%` and `_` would stand for others
PAGE_BYTES = 4 << 20  # of plans, after which a list shows no further job

log = logging.getLogger("chainrule")

JobRow = Row[Any]


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows."""

    states: Sequence[JobState] = ()
    labels: Sequence[tuple[str, str | None]] = field(default_factory=tuple)  # a value of None: any
    name: str | None = None  # a part of it, in any case
    parameters_sha256: str | None = None
    submitted_by: str | None = None  # the very name of a key

    @property
    def is_searched_for(self) -> bool:
        """Whether all of the tenant's jobs are looked through for it: there is no index that leads to them."""
        return bool(self.labels or self.shape.names)

    @property
    def shape(self) -> "FilterShape":
        """What the query for it depends on."""
        names = ("name", "parameters_sha256", "submitted_by")
        of_any = tuple(value is None for _, value in self.labels)
        return FilterShape(
            len(set(self.states)), of_any, tuple(name for name in names if getattr(self, name) is not None)
        )

    @property
    def wanted(self) -> dict[str, Any]:
        """What the query for it is given."""
        given: dict[str, Any] = {f"state_{place}": state for place, state in enumerate(sorted(set(self.states)))}
        for place, (key, value) in enumerate(self.labels):
            given |= {f"key_{place}": key, f"value_{place}": value}
        name = None if self.name is None else SPECIAL.sub(rf"{ESCAPE}\g<0>", self.name)
        return given | {"name": name, "sha256": self.parameters_sha256, "by": self.submitted_by}


class FilterShape(NamedTuple):
    """How many states a filter names, of which of its labels any value will do, and what else it has."""

    states: int
    of_any: tuple[bool, ...]
    names: tuple[str, ...]


class Listed(NamedTuple):
    """A job of a list, with its plan; None where the job has just been deleted."""

    job: JobRow
    plan: Mapping[str, Any] | None


class Store:
    """Jobs, kept in a database. `on_event(job_id)` is called after each commit that told something about a job, and
    `on_move` after each that moved one, with the job as it was before, if it was, and its new state."""

    def __init__(
        self,
        database: Database,
        on_event: Callable[[str], None] = lambda job_id: None,
        clock: Callable[[], str] = now,
        owner: Owner | None = None,
        on_move: "OnMove" = lambda before, to: None,
        patience: Patience | None = None,
    ) -> None:
        self.owner = owner or Owner(database)
        """The control plane that this store writes for."""
        self.queue = Queue(database)
        """The jobs that wait."""
        self._database = database
        self._plans = KeptPlans()
        self._on_event, self._on_move = on_event, on_move
        self._clock, self._patience = clock, patience or Patience()

    # ------------------------------------------------------------ submitting and removing
    def add(self, new: NewJob) -> Added:
        """Queues a job; returns it, and whether it is new: with an idempotency key seen before it is the job of then.

        Raises InvalidInput when that key came with another request, or a data set has been deleted meanwhile; Conflict
        where its tenant has no room for it.
        """
        [outcome] = self.add_all([new])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def add_all(self, batch: Sequence[NewJob]) -> Sequence[Added | Refusal]:
        """The same for jobs that are committed together; of each, what it is refused with, if it is."""
        outcomes = self._added(batch) if batch else []
        for new, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, Exception) and outcome[1]:
                self._on_move(None, JobState.QUEUED)
                self._on_event(new.id)
        return outcomes

    def _added(self, batch: Sequence[NewJob]) -> Sequence[Added | Refusal]:
        try:
            with self._database.writing() as connection:
                return add_all(connection, batch, self._clock(), self._patience)
        except exc.IntegrityError:  # a key of one of them, committed by somebody else between our look and our insert
            if len(batch) > 1:
                return [added for new in batch for added in self._added([new])]
            with self._database.reading() as connection:
                known = by_idempotency_key(connection, batch[0])
            if known is None:
                raise
            return [(known, False)]

    def known_for(self, tenant: str, idempotency_key: str, request_sha256: str) -> JobRow | None:
        """The job that this request made before. Raises InvalidInput when the key came with another request."""
        with self._database.reading() as connection:
            return job_of_key(connection, tenant, idempotency_key, request_sha256)

    def knows(self, tenant: str, idempotency_key: str) -> bool:
        """Whether a job was made with that key, by whatever request."""
        with self._database.reading() as connection:
            return connection.scalar(KNOWN, {"of_tenant": tenant, "sent": idempotency_key}) is not None

    def delete(self, tenant: str, job_id: str) -> None:
        """Removes an ended job and its events. Raises NotFound, or Conflict while it has not ended."""
        with self._database.writing() as connection:
            job = _locked(connection, tenant, job_id)
            if not JobState(job.state).is_terminal:
                raise Conflict(f"the job is {job.state}: only an ended job can be deleted; cancel it first")
            connection.execute(sa.delete(jobs).where(jobs.c.number == job.number))
        self._on_event(job_id)

    # ------------------------------------------------------------ reading
    def get(self, tenant: str, job_id: str) -> JobRow:
        """One job, with its plan. Raises NotFound."""
        with self._database.reading() as connection:
            wanted = {"wanted": job_id, "of_tenant": tenant}
            return _found(connection.execute(WHOLE_OF_TENANT, wanted).one_or_none(), job_id)

    def state(self, tenant: str, job_id: str) -> JobState:
        """The state of a job. Raises NotFound."""
        with self._database.reading() as connection:
            return JobState(_place_of(connection, tenant, job_id).state)

    def last_event(self, tenant: str, job_id: str) -> int:
        """The number of the last event of a job. Raises NotFound."""
        with self._database.reading() as connection:
            return int(_place_of(connection, tenant, job_id).last_event)

    def last_events(self, job_ids: Iterable[str]) -> dict[str, int]:
        """The numbers of the last events of jobs, whosever they are, of those that there are."""
        wanted, found = sorted(job_ids), dict[str, int]()
        with self._database.reading() as connection:
            for start in range(0, len(wanted), IDS_AT_ONCE):
                query = sa.select(jobs.c.id, jobs.c.last_event).where(
                    jobs.c.id.in_(wanted[start : start + IDS_AT_ONCE])
                )
                found |= {row.id: row.last_event for row in connection.execute(query)}
        return found

    def list(self, tenant: str, which: JobFilter, before: int | None, limit: int) -> Sequence[Listed]:
        """Jobs, newest first, with a number below `before`: as many as `limit`, or until their plans are PAGE_BYTES."""
        query = _page(which.shape, before is not None)
        wanted = which.wanted | {"of_tenant": tenant, "before": before, "at_most": limit}
        with self._database.reading() as connection:
            rows = connection.execute(query, wanted).all()
            found = self._plans.of(connection, rows)
        return [Listed(row, found.get(row.id)) for row in rows]

    def events_after(
        self, tenant: str, job_id: str, seq: int, limit: int, kind: str | None = None
    ) -> tuple[Sequence[Row[Any]], JobState]:
        """Events of that kind, or all but what is for the log alone, with a number above `seq`, in order, and the job's
        state just before. Raises NotFound."""
        with self._database.reading() as connection:
            job = _place_of(connection, tenant, job_id)
            query = sa.select(events).where(events.c.job_number == job.number, events.c.seq > seq)
            query = query.where(events.c.type != "log" if kind is None else events.c.type == kind)
            # The state is read before the events: once it is terminal, they hold the last one.
            return connection.execute(query.order_by(events.c.seq).limit(limit)).all(), JobState(job.state)

    def log_after(self, tenant: str, job_id: str, seq: int, limit: int) -> tuple[Sequence[Line], JobState]:
        """Lines of the job's log with a number above `seq`, in order, and the job's state just before. Raises
        NotFound."""
        with self._database.reading() as connection:
            job = _place_of(connection, tenant, job_id)
            return lines_after(connection, job, seq, limit), JobState(job.state)

    def metrics_after(self, tenant: str, job_id: str, step: int, limit: int) -> Sequence[Row[Any]]:
        """Metrics of steps above `step`, by step. Raises NotFound."""
        with self._database.reading() as connection:
            job = _place_of(connection, tenant, job_id)
            query = sa.select(events).where(events.c.job_number == job.number, events.c.type == "metrics")
            return connection.execute(query.where(events.c.step > step).order_by(events.c.step).limit(limit)).all()

    def metrics_spread(self, tenant: str, job_id: str, step: int, points: int) -> Sequence[Row[Any]]:
        """Metrics of steps above `step`, by step, so many at most: the first, the last, between them those at ends of
        epochs, which alone tell of the validation, and others where there is room; each sort evenly spread.

        Raises NotFound.
        """
        with self._database.reading() as connection:
            job = _place_of(connection, tenant, job_id)
            of_job = (events.c.job_number == job.number, events.c.type == "metrics", events.c.step > step)
            first, last = (
                sa.select(end(events.c.step)).where(*of_job).scalar_subquery() for end in (sa.func.min, sa.func.max)
            )
            ends = sa.or_(events.c.step % job.steps_per_epoch == 0, events.c.step.in_([first, last]))
            whole = sa.case((ends, 1), else_=0).label("whole")
            counts = sa.select(whole, sa.func.count().label("items")).where(*of_job).group_by("whole")
            count = {0: 0, 1: 0} | {each.whole: each.items for each in connection.execute(counts)}
            place = sa.func.row_number().over(partition_by=whole, order_by=events.c.step).label("place")
            found = sa.select(events.c.step, events.c.data, whole, place).where(*of_job).subquery()
            wholes = min(points, count[1])
            kept = [
                sa.and_(found.c.whole == sort, _is_kept(found.c.place, count[sort], most))
                for sort, most in ((1, wholes), (0, points - wholes))
            ]
            return connection.execute(sa.select(found).where(sa.or_(*kept)).order_by(found.c.step)).all()

    # ------------------------------------------------------------ what users ask for
    def request(self, tenant: str, job_id: str, verb: Verb) -> JobRow:
        """Does what a user asks for, as far as it can be done at once, and returns the job, without its plan.

        Raises NotFound, or Conflict where it is impossible.
        """
        with self._database.writing() as connection:
            before = _locked(connection, tenant, job_id)
            answer = respond(verb, JobState(before.state), before.requested)
            if isinstance(answer, Move):
                self._move(connection, before, answer)
            elif isinstance(answer, Flag):
                values = {"requested": answer.requested, "reason": answer.why, "preempted_by": None}
                connection.execute(sa.update(jobs).where(jobs.c.number == before.number).values(values))
            job = _one(connection, job_id)
        if isinstance(answer, Move):
            self._on_move(before, answer.to)
        self._on_event(job_id)
        return job

    # ------------------------------------------------------------ what runs the jobs of all tenants
    def any_job(self, job_id: str) -> JobRow:
        """One job with its plan, whosever it is: for what runs jobs, never for a user's request. Raises NotFound."""
        with self._database.reading() as connection:
            return _found(connection.execute(WHOLE_ONE, {"wanted": job_id}).one_or_none(), job_id)

    def move(
        self, job_id: str, epoch: int, state: JobState, decide: "Decision", *, if_it_waits: bool = False, **values: Any
    ) -> JobRow | None:
        """Moves a job that is in `state` at `epoch` where `decide` says; returns it, without its plan, or None when it
        no longer is.

        `decide` is given what the user asked for last. `if_it_waits`: for CPUs, still, as a user may have asked for
        something else since that was seen. `values` are columns to be set along.
        """
        with self._database.writing() as connection:
            before = _at(connection, job_id, epoch, state)
            if before is None or (if_it_waits and before.waits is None):
                return None
            self._move(connection, before, decide(before.requested), **values)
            job = _one(connection, job_id)
        self._on_move(before, JobState(job.state))
        self._on_event(job_id)
        return job

    def end_late(self, limit: int) -> Sequence[str]:
        """Fails jobs that have not started in time, as many as `limit`; returns their ids."""
        with self._database.reading() as connection:
            first = connection.scalar(FIRST_TO_BE_LATE)
            if first is None:
                self._patience.begin(connection)
                return []
            now = self._patience.now(connection)
            if first > now:
                return []
        max_wait_s = plans.c.plan["spec"]["max_wait_s"].as_float().label("max_wait_s")
        late = sa.select(jobs, max_wait_s).join_from(jobs, plans).where(jobs.c.wait_until <= now)
        with self._database.writing() as connection:
            rows = connection.execute(late.order_by(jobs.c.wait_until).limit(limit).with_for_update(of=jobs)).all()
            for job in rows:
                self._move(connection, job, waited_too_long(job.max_wait_s))
        for job in rows:
            self._on_move(job, JobState.FAILED)
            self._on_event(job.id)
        return [str(job.id) for job in rows]

    def _move(self, connection: Connection, job: JobRow, move: Move, **values: Any) -> None:
        """The one function that changes a state: checks the move, makes it, records it."""
        before, to, moment = JobState(job.state), move.to, self._clock()
        if (before, to) not in MOVES:
            raise AssertionError(f"{job.id}: there is no move from {before} to {to} ({move.why})")
        if to is JobState.QUEUED:
            values |= {"attempt": job.attempt + 1, "workers": 0}
        if to is JobState.RUNNING:
            values.setdefault("started_at", job.started_at or moment)
            values["last_report"] = 0
            last = connection.scalar(sa.select(sa.func.max(tenants.c.served_at)))
            served = sa.update(tenants).where(tenants.c.name == job.tenant)
            connection.execute(served.values(served_at=next_after(last, moment)))
        if to.is_terminal:
            values["finished_at"] = moment
        if to in (JobState.FAILED, JobState.CANCELLED):
            values |= {"model_bytes": 0, "parameters_sha256": None}
        values |= self.owner.of_start(values.get("workers", job.workers)) if to is JobState.RUNNING else NOBODY
        values |= {
            "state": to,
            "epoch": job.epoch + 1,
            "requested": move.requested,
            "preempted_by": move.preempted_by,
            "retry_at": later(moment, move.retry_in_s) if move.retry_in_s else None,
            "reserved_at": None,
            "wait_until": None,
            "reason": None if to in (JobState.RUNNING, JobState.SUCCEEDED) else move.why,
            "error": move.error,
            "last_event": job.last_event + 1,
        }
        told = state_event(before, to, move.why, values.get("attempt", job.attempt), moment)
        if to is JobState.RUNNING and "workers" in values:
            told["workers"] = values["workers"]
        connection.execute(_update(job).values(values))
        connection.execute(
            sa.insert(events).values(job_number=job.number, seq=job.last_event + 1, type="state", data=told, at=moment)
        )
        announce(connection, [job], job.last_event + 1, told)
        of_job = {"job_id": job.id, "attempt": told["attempt"], "tenant": job.tenant}
        log.info("%s: %s → %s: %s", job.id, before, to, move.why, extra=of_job)

    # ------------------------------------------------------------ what a running attempt tells
    def record(self, job_id: str, epoch: int, told: Sequence["Told"], **values: Any) -> bool:
        """Appends events to a running job and sets `values` on it; False when it is no longer at that epoch.

        What was told by a report that has been taken in before is left out.
        """
        with self._database.writing() as connection:
            job = _at(connection, job_id, epoch, JobState.RUNNING)
            if job is None:
                return False
            if job.requested is not None:
                values.pop("reason", None)  # what was asked for is said until it is done
            if "cpus_held" in values:  # what it is to grow into is its own before it tells so
                values["cpus_held"] = max(values["cpus_held"], job.cpus_wanted)
            told = [each for each in told if each.report is None or each.report > job.last_report]
            known = _steps_told(connection, job.number, [each.step for each in told if each.step is not None])
            new = [each for each in told if each.step is None or each.step not in known]
            rows = [
                {"job_number": job.number, "seq": seq, **each.columns, "at": each.at or self._clock()}
                for seq, each in enumerate(new, job.last_event + 1)
            ]
            if rows:
                connection.execute(sa.insert(events), rows)
                values["last_event"] = rows[-1]["seq"]
                if any(each.type == "log" for each in new):
                    keep_short(connection, job, rows[-1]["seq"])
            if values:
                connection.execute(_update(job).values(values))
        if rows:
            self._on_event(job_id)
        return True


Decision = Callable[[Requested], Move]
OnMove = Callable[[JobRow | None, JobState], None]


@dataclass(frozen=True)
class Told:
    """An event that a running attempt gives rise to."""

    type: str
    data: dict[str, Any]
    step: int | None = None
    """Of metrics: told only once for a step."""
    at: str | None = None
    """When it happened; now, if that is not known."""
    report: int | None = None
    """The number of the report of it, which is taken in once."""

    @property
    def columns(self) -> dict[str, Any]:
        """Of the table, those that are its own."""
        return {"type": self.type, "step": self.step, "data": self.data}


# ---------------------------------------------------------------- pieces of transactions
# Made once, as to make a statement takes longer than to have it answered.
# A job's plan may be megabytes: it is read with the others of WHOLE only, never where the job is about to change.
IS_IT, IS_OF_TENANT = jobs.c.id == sa.bindparam("wanted"), jobs.c.tenant == sa.bindparam("of_tenant")
ONE, WHOLE_ONE = sa.select(jobs).where(IS_IT), WHOLE.where(IS_IT)
LOCKED, WHOLE_OF_TENANT = ONE.where(IS_OF_TENANT).with_for_update(), WHOLE_ONE.where(IS_OF_TENANT)
KNOWN = sa.select(idempotency_keys.c.job_number).where(
    idempotency_keys.c.tenant == sa.bindparam("of_tenant"), idempotency_keys.c.key == sa.bindparam("sent")
)
AT_MOST = sa.bindparam("at_most", type_=sa.Integer)
PLACE_OF: sa.Select[Any] = sa.select(
    *(jobs.c[name] for name in ("number", "state", "epochs", "steps_per_epoch", "last_event"))
).where(IS_IT, IS_OF_TENANT)


FIRST_TO_BE_LATE = sa.select(sa.func.min(jobs.c.wait_until)).where(
    jobs.c.wait_until.is_not(None)  # each move clears that of its job
)


@lru_cache(maxsize=64)
def _page(shape: FilterShape, is_after_another: bool) -> sa.Select[Any]:
    """Jobs, newest first, that a filter of that shape lets through, until their plans are PAGE_BYTES."""
    found = sa.select(jobs.c.number).where(IS_OF_TENANT).order_by(jobs.c.number.desc()).limit(AT_MOST)
    if is_after_another:
        found = found.where(jobs.c.number < sa.bindparam("before"))
    if "name" in shape.names:
        found = found.where(jobs.c.name.icontains(sa.bindparam("name"), escape=ESCAPE))
    if "parameters_sha256" in shape.names:
        found = found.where(jobs.c.parameters_sha256 == sa.bindparam("sha256"))
    if "submitted_by" in shape.names:
        found = found.where(jobs.c.submitted_by == sa.bindparam("by"))
    for place, of_any in enumerate(shape.of_any):
        of_key = job_labels.c.key == sa.bindparam(f"key_{place}")
        has = sa.exists().where(job_labels.c.job_number == jobs.c.number, of_key)
        found = found.where(has if of_any else has.where(job_labels.c.value == sa.bindparam(f"value_{place}")))
    # Each state by itself, along its index: several at once would be looked for among all jobs, or all be sorted.
    states: list[Any] = [sa.bindparam(f"state_{place}") for place in range(shape.states)]
    by_state = [found.where(jobs.c.state == state) for state in states] or [found]
    numbers = sa.union_all(*(sa.select(each.subquery().c.number) for each in by_state))
    so_far = sa.func.sum(jobs.c.plan_bytes).over(order_by=jobs.c.number.desc()) - jobs.c.plan_bytes
    page = sa.select(jobs.c.number, so_far.label("so_far")).where(jobs.c.number.in_(numbers)).subquery()
    query = sa.select(jobs).join(page, page.c.number == jobs.c.number).where(page.c.so_far < PAGE_BYTES)
    return query.order_by(jobs.c.number.desc()).limit(AT_MOST)


def _at(connection: Connection, job_id: str, epoch: int, state: JobState) -> JobRow | None:
    """The job, locked, if it is in that state at that epoch."""
    query = sa.select(jobs).where(jobs.c.id == job_id, jobs.c.epoch == epoch, jobs.c.state == state)
    return connection.execute(query.with_for_update()).one_or_none()


def _update(job: JobRow) -> sa.Update:
    """A change of the job as it was read, and of no later one."""
    return sa.update(jobs).where(jobs.c.number == job.number, jobs.c.epoch == job.epoch)


def _locked(connection: Connection, tenant: str, job_id: str) -> JobRow:
    """The job, locked, if it is the tenant's. Raises NotFound."""
    return _found(connection.execute(LOCKED, {"wanted": job_id, "of_tenant": tenant}).one_or_none(), job_id)


def _is_kept(place: sa.ColumnElement[int], count: int, most: int) -> sa.ColumnElement[bool]:
    """Whether the item at that place, from 1, is one of so many at most, spread evenly from the first to the last."""
    if count <= most:
        return sa.true()
    if most == 0:
        return sa.false()
    before = (place - 2) * (most - 1) // (count - 1)
    return sa.or_(place == 1, (place - 1) * (most - 1) // (count - 1) > before)


def _place_of(connection: Connection, tenant: str, job_id: str) -> Row[Any]:
    """Number and state of the job, and how its steps are counted, if it is the tenant's. Raises NotFound."""
    return _found(connection.execute(PLACE_OF, {"wanted": job_id, "of_tenant": tenant}).one_or_none(), job_id)


def _one(connection: Connection, job_id: str) -> JobRow:
    """The job, whosever it is. Raises NotFound."""
    return _found(connection.execute(ONE, {"wanted": job_id}).one_or_none(), job_id)


def _found(job: JobRow | None, job_id: str) -> JobRow:
    if job is None:
        raise NotFound(f"there is no job {job_id[:100]}")
    return job


def _steps_told(connection: Connection, job_number: int, steps: Sequence[int]) -> set[int]:
    if not steps:
        return set()
    query = sa.select(events.c.step).where(
        events.c.job_number == job_number,
        events.c.type == "metrics",
        events.c.step.between(min(steps), max(steps)),  # a list of them would outgrow what a statement may hold
    )
    return set(connection.scalars(query))
