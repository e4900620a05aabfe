"""The jobs that wait for CPUs, as the database has them: what the scheduler reads and writes of them.

However many wait, each look costs as little: every query goes along an index of waiting jobs alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.clock import next_after, seconds_between
from service.database import WAITS, Database, jobs, tenants
from service.jobs import JobState
from service.line import Reserved, Waits

__all__ = ["AT_MOST_TENANTS", "FEWEST", "LOOK_AHEAD", "Queue"]

LOOK_AHEAD = 200  # waiting jobs that are looked at: all that could start now, and those that are told why they wait
FEWEST = 5  # of each tenant that is looked at
FEW_TENANTS = 20  # which are asked for one by one
AT_MOST_TENANTS = 100  # that are looked at at once: those whose turn is next
SOME = 1_000
OF_LATE = 20  # jobs of a tenant whose mean runtime is expected of the next
TOO_LARGE = 100  # of those that need more than the cluster has: enough to tell them so

NAMES = ("number", "id", "tenant", "state", "epoch", "reason", "priority", "cpus_min", "cpus_max")
CPUS = ("cpus_wanted", "cpus_held")
HELD = ("cpus_min", "cpus_max", "workers", "requested", "preempted_by")
RUNNING = ("number", "id", "tenant", "epoch", "priority", *HELD, "progress", "started_at")
LATER = ("retry_at", "preempted_by", "reserved_at")

ANY = 2**31 - 1  # CPUs: as many as the column can hold
NO_LIMITS: Mapping[str, int] = {}

WaitingRow = Row[Any]


class Queue:
    """Jobs of all tenants that wait: for what runs jobs, never for a user's request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(
        self,
        cpus: int = ANY,
        most: Mapping[str, int] = NO_LIMITS,
        limit: int = LOOK_AHEAD,
        *,
        last: Collection[str] = (),
        without: Collection[str] = (),
    ) -> Sequence[WaitingRow]:
        """The first that wait of each tenant, by priority and then by age: about `limit` in all, and some of each,
        however many others have. Of very many tenants those whose turn is next, and `last` those that can have nothing
        more now. Left out are jobs that need more than `cpus`, or than `most` says that their tenant may have of these,
        and tenants `without` which to look."""
        found: list[WaitingRow] = []
        with self._database.reading() as connection:
            names = _tenants(connection)
            each = max(FEWEST, limit // max(1, len(names)))
            if len(names) > FEW_TENANTS:
                asked = {"each": each, "last": [*last], "without": [*without], **_limits(connection, cpus, most)}
                return connection.execute(HEAD_OF_MANY, asked).all()
            for tenant in names:
                if tenant not in without:
                    its = min(cpus, most.get(tenant, cpus))
                    found += connection.execute(HEAD, {"tenant": tenant, "each": each, "cpus": its}).all()
        return found

    def too_large(self, cpus: int, most: Mapping[str, int] = NO_LIMITS) -> Sequence[WaitingRow]:
        """Jobs that need more than `cpus`, or than their tenant may have, the smallest of them first."""
        with self._database.reading() as connection:
            return connection.execute(FIRST_TOO_LARGE, _limits(connection, cpus, most)).all()

    def all_that_wait(
        self, cpus: int, most: Mapping[str, int] = NO_LIMITS
    ) -> tuple[Sequence[Waits], Sequence[Reserved], dict[str, str]]:
        """All but those that are too large, as `service.line` takes them; those for which CPUs are kept free; and when
        each tenant was last given CPUs."""
        times = sa.select(tenants.c.name, tenants.c.served_at).where(tenants.c.served_at.is_not(None))
        with self._database.reading() as connection:
            limits, waiting = _limits(connection, cpus, most), list[Any]()
            found = connection.execute(ALL_THAT_WAIT, limits)
            for some in found.partitions(SOME):  # others need not wait until all have been made into objects
                waiting += some
            reserved = connection.execute(ALL_RESERVED, limits).all()
            served = {row.name: row.served_at for row in connection.execute(times)}
        return waiting, [Reserved(*row) for row in reserved], served

    def running(self) -> Sequence[Row[Any]]:
        """Those that run, at whichever control plane, with the CPUs that they hold and how far they are."""
        with self._database.reading() as connection:
            return connection.execute(ALL_THAT_RUN).all()

    def preempt(self, job_id: str, by: str) -> None:
        """Asks a job that runs to pause for the sake of another, named in words; what a user asked for counts more."""
        asked = sa.update(jobs).where(*_runs(job_id), jobs.c.requested.is_(None)).values(preempted_by=by)
        with self._database.writing() as connection:
            connection.execute(asked)

    def resize(self, job_id: str, cpus: int) -> None:
        """Asks a job that runs to compute on so many CPUs. Those of a growth are its own from now on."""
        held = sa.case((jobs.c.cpus_held < cpus, cpus), else_=jobs.c.cpus_held)
        with self._database.writing() as connection:
            connection.execute(sa.update(jobs).where(*_runs(job_id)).values(cpus_wanted=cpus, cpus_held=held))

    def runtimes_s(self, names: Iterable[str]) -> dict[str, float]:
        """How long the jobs that have succeeded of late took, from their first start to their end: the mean of each of
        these tenants; of one that has none yet, that of all of these."""
        found: dict[str, list[float]] = {}
        with self._database.reading() as connection:
            for name in names:
                rows = connection.execute(LAST_ENDED, {"tenant": name}).all()
                found[name] = [max(0.0, seconds_between(row.started_at, row.finished_at)) for row in rows]
        everybody = [seconds for each in found.values() for seconds in each]
        return {name: fmean(each or everybody) for name, each in found.items() if each or everybody}

    def tell(self, reasons: Mapping[str, str]) -> None:
        """Says why jobs wait, for those that still do."""
        if not reasons:
            return
        statement = sa.update(jobs).where(jobs.c.id == sa.bindparam("job_id"), WAITS)
        with self._database.writing() as connection:
            connection.execute(
                statement.values(reason=sa.bindparam("why")),
                [{"job_id": job_id, "why": why} for job_id, why in reasons.items()],
            )

    def reserve(self, job_id: str, moment: str) -> None:
        """Notes that CPUs are kept free for a job from now on, until it starts, after those that have that already."""
        waits = jobs.c.id == job_id, jobs.c.reserved_at.is_(None), WAITS
        last = sa.select(sa.func.max(jobs.c.reserved_at)).where(jobs.c.reserved_at.is_not(None))
        with self._database.writing() as connection:
            after = next_after(connection.scalar(last), moment)
            connection.execute(sa.update(jobs).where(*waits).values(reserved_at=after))


def _runs(job_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.id == job_id, jobs.c.state == JobState.RUNNING


def _waiting() -> sa.Select[Any]:
    columns = [jobs.c[name] for name in (*NAMES, *LATER)]
    return sa.select(*columns, tenants.c.served_at).outerjoin(tenants, tenants.c.name == jobs.c.tenant).where(WAITS)


# Made once, as to make a statement takes longer than to have it answered.
HEAD = (
    _waiting()
    .where(jobs.c.tenant == sa.bindparam("tenant"), jobs.c.cpus_min <= sa.bindparam("cpus"))
    .order_by(jobs.c.priority.desc(), jobs.c.number)
    .limit(sa.bindparam("each", type_=sa.Integer))
)
ALL_THAT_RUN = sa.select(
    *(jobs.c[name] for name in RUNNING),
    # A service that is older than these columns, and shares the database while it is replaced, does not set them.
    *(sa.func.coalesce(jobs.c[name], jobs.c.workers).label(name) for name in CPUS),
).where(jobs.c.state == JobState.RUNNING)
WIDEST = sa.select(sa.func.max(jobs.c.cpus_min)).where(WAITS)
MOST = sa.func.json_each(sa.bindparam("most", type_=sa.JSON)).table_valued("key", "value", name="most")
OTHERS = jobs.alias("others")
ABOVE_QUOTA = jobs.c.number.in_(  # found once for all jobs: to look up the quota of each would cost more
    sa.select(OTHERS.c.number)
    .join(MOST, OTHERS.c.tenant == MOST.c.key)
    .where(OTHERS.c.waits.is_not(None), OTHERS.c.cpus_min > sa.cast(sa.cast(MOST.c.value, sa.Text), sa.Integer))
)
COULD_START = sa.and_(jobs.c.cpus_min <= sa.bindparam("cpus"), sa.not_(ABOVE_QUOTA))
COULD_NOT = sa.or_(jobs.c.cpus_min > sa.bindparam("cpus"), ABOVE_QUOTA)
FIRST_TOO_LARGE = (
    _waiting()
    .where(jobs.c.cpus_min > sa.bindparam("fewest"), COULD_NOT)  # the former goes along an index
    .order_by(jobs.c.cpus_min)
    .limit(TOO_LARGE)
)
ALL_THAT_WAIT = (
    sa.select(jobs.c.tenant, jobs.c.priority, jobs.c.number, jobs.c.cpus_min)
    .where(WAITS, COULD_START)
    .order_by(jobs.c.tenant, jobs.c.priority.desc(), jobs.c.number)
)
ALL_RESERVED = sa.select(jobs.c.tenant, jobs.c.priority, jobs.c.number, jobs.c.reserved_at).where(
    jobs.c.reserved_at.is_not(None), COULD_START
)


def _head_of_many() -> sa.Select[Any]:
    """One pass over the index of waiting jobs, which for many tenants costs less than a query for each. The order of
    tenants is that of `service.fairness.Turns`, but for their shares, by which only those differ that have CPUs."""
    columns = jobs.c.number, jobs.c.tenant, jobs.c.priority, jobs.c.reserved_at
    in_order = jobs.c.priority.desc(), jobs.c.reserved_at.is_(None), jobs.c.number
    place = sa.func.row_number().over(partition_by=jobs.c.tenant, order_by=in_order).label("place")
    asked_for = jobs.c.tenant.not_in(sa.bindparam("without", expanding=True))
    placed = sa.select(*columns, place).where(WAITS, COULD_START, asked_for).cte("placed")
    used = sa.select(jobs.c.tenant, sa.func.sum(jobs.c.workers).label("cpus")).where(jobs.c.state == JobState.RUNNING)
    in_use = used.group_by(jobs.c.tenant).subquery("in_use")
    turn = (
        sa.case((placed.c.tenant.in_(sa.bindparam("last", expanding=True)), 1), else_=0),
        placed.c.priority.desc(),
        placed.c.reserved_at.is_(None),
        sa.func.coalesce(in_use.c.cpus, 0),
        sa.func.coalesce(tenants.c.served_at, ""),
        placed.c.number,
    )
    firsts = sa.select(placed.c.tenant).where(placed.c.place == 1).order_by(*turn).limit(AT_MOST_TENANTS)
    firsts = firsts.outerjoin(in_use, in_use.c.tenant == placed.c.tenant)
    next_in_turn = firsts.outerjoin(tenants, tenants.c.name == placed.c.tenant).subquery("next_in_turn")
    some = placed.c.place <= sa.bindparam("each", type_=sa.Integer)
    found = _waiting().join(placed, sa.and_(placed.c.number == jobs.c.number, some))
    return found.join(next_in_turn, next_in_turn.c.tenant == placed.c.tenant)


def _tenants_that_wait() -> sa.Select[Any]:
    """From one to the next along an index, as it may hold thousands of jobs of each."""
    first = sa.select(sa.func.min(jobs.c.tenant).label("tenant")).where(WAITS).cte("found", recursive=True)
    following = sa.select(sa.func.min(jobs.c.tenant)).where(WAITS, jobs.c.tenant > first.c.tenant)
    whole = first.union_all(sa.select(following.scalar_subquery()).where(first.c.tenant.is_not(None)))
    return sa.select(whole.c.tenant).where(whole.c.tenant.is_not(None))


HEAD_OF_MANY, TENANTS_THAT_WAIT = _head_of_many(), _tenants_that_wait()
LAST_ENDED = (
    sa.select(jobs.c.started_at, jobs.c.finished_at)
    .where(jobs.c.state == JobState.SUCCEEDED, jobs.c.tenant == sa.bindparam("tenant"))
    .order_by(jobs.c.number.desc())
    .limit(OF_LATE)
)


def _limits(connection: Connection, cpus: int, most: Mapping[str, int]) -> dict[str, Any]:
    """What is too large, as COULD_START asks for it: of quotas only those that some job that waits is too large for."""
    widest = connection.scalar(WIDEST) or 0
    limits = {tenant: limit for tenant, limit in most.items() if limit < widest}
    return {"cpus": cpus, "most": limits, "fewest": min([cpus, *limits.values()])}


def _tenants(connection: Connection) -> Sequence[str]:
    """Those of jobs that wait."""
    return connection.scalars(TENANTS_THAT_WAIT).all()
