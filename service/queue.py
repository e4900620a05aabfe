"""The jobs that wait for CPUs, as the database has them: what the scheduler reads and writes of them.

However many wait, each look costs as little: every query goes along an index of waiting jobs alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.database import WAITS, Database, jobs, tenants

__all__ = ["FEWEST", "LOOK_AHEAD", "Queue"]

LOOK_AHEAD = 200  # waiting jobs that are looked at: all that could start now, and those that are told why they wait
FEWEST = 20  # of each tenant, however many tenants wait
TOO_LARGE = 100  # of those that need more than the cluster has: enough to tell them so

NAMES = ("number", "id", "tenant", "state", "epoch", "reason", "priority", "cpus_min", "cpus_max")
LATER = ("retry_at", "preempted_by", "reserved_at")

WaitingRow = Row[Any]


class Queue:
    """Jobs of all tenants that wait: for what runs jobs, never for a user's request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self, cpus: int | None = None, limit: int = LOOK_AHEAD) -> Sequence[WaitingRow]:
        """The first that wait of each tenant, by priority and then by age: about `limit` in all, and some of each,
        however many others have. Those that need more than `cpus` are left out."""
        found: list[WaitingRow] = []
        with self._database.reading() as connection:
            names = _tenants(connection)
            each = max(FEWEST, limit // max(1, len(names)))
            for tenant in names:
                query = _waiting().where(jobs.c.tenant == tenant)
                if cpus is not None:
                    query = query.where(jobs.c.cpus_min <= cpus)
                order = jobs.c.priority.desc(), jobs.c.number
                found += connection.execute(query.order_by(*order).limit(each)).all()
        return found

    def too_large(self, cpus: int) -> Sequence[WaitingRow]:
        """Jobs that need more than `cpus`, the smallest of them first."""
        query = _waiting().where(jobs.c.cpus_min > cpus).order_by(jobs.c.cpus_min).limit(TOO_LARGE)
        with self._database.reading() as connection:
            return connection.execute(query).all()

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
        """Notes that CPUs are kept free for a job from now on, until it starts."""
        waits = jobs.c.id == job_id, jobs.c.reserved_at.is_(None), WAITS
        with self._database.writing() as connection:
            connection.execute(sa.update(jobs).where(*waits).values(reserved_at=moment))


def _waiting() -> sa.Select[Any]:
    columns = [jobs.c[name] for name in (*NAMES, *LATER)]
    return sa.select(*columns, tenants.c.served_at).outerjoin(tenants, tenants.c.name == jobs.c.tenant).where(WAITS)


def _tenants(connection: Connection) -> Sequence[str]:
    """Those of whom jobs wait. From one to the next along the index, as it may hold thousands of jobs of each."""
    first = sa.select(sa.func.min(jobs.c.tenant).label("tenant")).where(WAITS).cte("waiting", recursive=True)
    following = sa.select(sa.func.min(jobs.c.tenant)).where(WAITS, jobs.c.tenant > first.c.tenant)
    whole = first.union_all(sa.select(following.scalar_subquery()).where(first.c.tenant.is_not(None)))
    return connection.scalars(sa.select(whole.c.tenant).where(whole.c.tenant.is_not(None))).all()
