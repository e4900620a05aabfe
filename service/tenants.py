"""The tenants: what each may have, what it has, and what is refused because of that.

Quotas are kept in the database, for all control planes. What one knows of them is a second old at most; so is the
number of jobs that wait, to which it adds those that it takes in itself. So a submit costs no query of its own.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.database import DEFAULT_TENANT, WAITS, Database, datasets, jobs, tenants
from service.jobs import JobState
from service.quota import Quota, Usage
from service.uploads import Limit, Together, too_large
from shared.errors import Conflict, InvalidInput, NotFound

__all__ = ["TenantRow", "Tenants", "check_room_for_job", "stored_before"]

REMEMBERED_S = 1.0

TenantRow = Row[Any]


class Tenants:
    """Tenants in a database, with the quota of those that have none of their own."""

    def __init__(
        self, database: Database, default: Quota | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.default = default or Quota()
        self._database, self._monotonic = database, monotonic
        self._lock = threading.Lock()
        self._quotas: Mapping[str, Quota] = {}
        self._known_until = float("-inf")
        self._queued: dict[str, tuple[int, float]] = {}
        self._arriving: dict[str, Together] = {}

    # ------------------------------------------------------------ quotas
    def remembered(self) -> Mapping[str, Quota] | None:
        """What `quotas` would tell, if that was found out a moment ago; asks nobody."""
        return self._quotas if self._monotonic() < self._known_until else None

    def quotas(self) -> Mapping[str, Quota]:
        """What is in effect for each tenant."""
        if self.remembered() is None:
            began = self._monotonic()
            with self._database.reading() as connection:
                rows = connection.execute(sa.select(tenants)).all()
            self._quotas = {row.name: self.in_effect(row) for row in rows}
            self._known_until = began + REMEMBERED_S
        return self._quotas

    def quota_of(self, tenant: str) -> Quota:
        """What is in effect for one."""
        return self.quotas().get(tenant, self._default_of(tenant))

    def in_effect(self, row: TenantRow) -> Quota:
        """What is in effect for the tenant of that row."""
        return Quota.of(row).over(self._default_of(row.name))

    def _default_of(self, tenant: str) -> Quota:
        # Priorities are for all tenants; that of whoever runs the service had any before there were others.
        return replace(self.default, max_priority=None) if tenant == DEFAULT_TENANT else self.default

    def set_quota(self, name: str, quota: Mapping[str, int | float | None]) -> TenantRow:
        """Sets all of a tenant's quota; None means the default. Raises NotFound."""
        with self._database.writing() as connection:
            changed = sa.update(tenants).where(tenants.c.name == name).values(**quota).returning(tenants)
            row = connection.execute(changed).one_or_none()
        self._known_until = float("-inf")
        return _found(row, name)

    # ------------------------------------------------------------ looking
    def list(self, after: str | None, limit: int) -> Sequence[TenantRow]:
        """Tenants by name, from the first whose name comes after that one."""
        query = sa.select(tenants).order_by(tenants.c.name).limit(limit)
        if after is not None:
            query = query.where(tenants.c.name > after)
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def get(self, name: str) -> TenantRow:
        """One tenant. Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tenants).where(tenants.c.name == name)).one_or_none()
        return _found(row, name)

    def usage(self, tenant: str) -> Usage:
        """What a tenant has now."""
        return self.usages([tenant])[tenant]

    def usages(self, names: Collection[str]) -> dict[str, Usage]:
        """What each of some tenants has now, in as many queries as for one."""
        theirs = jobs.c.tenant.in_(names)
        running = sa.select(jobs.c.tenant, sa.func.count().label("jobs"), sa.func.sum(jobs.c.workers).label("cpus"))
        running = running.where(jobs.c.state == JobState.RUNNING, theirs).group_by(jobs.c.tenant)
        queued = sa.select(jobs.c.tenant, sa.func.count().label("jobs")).where(WAITS, theirs).group_by(jobs.c.tenant)
        with self._database.reading() as connection:
            run = {row.tenant: (int(row.jobs), int(row.cpus)) for row in connection.execute(running)}
            wait = {row.tenant: int(row.jobs) for row in connection.execute(queued)}
            stored = _stored(connection, names)
        return {name: Usage(*run.get(name, (0, 0)), wait.get(name, 0), stored[name]) for name in names}

    def stored_bytes(self, tenant: str) -> int:
        """Bytes of its data sets' tables, of its models, also of those that are still to come, and of its jobs'
        plans."""
        with self._database.reading() as connection:
            return _stored(connection, {tenant})[tenant]

    # ------------------------------------------------------------ what is refused
    def check_priority(self, tenant: str, priority: int) -> None:
        """Raises InvalidInput where the tenant's jobs may have no such priority."""
        most = self.quota_of(tenant).max_priority
        if most is not None and priority > most:
            raise InvalidInput.of("priority", priority, f"at most {most:,}, the max_priority of the tenant's quota")

    def check_submit(self, tenant: str) -> Quota:
        """What is in effect for the tenant. Raises Conflict where another job of it may not wait; counts the job."""
        quota = self.quota_of(tenant)
        if quota.queued_jobs is not None:
            with self._lock:
                queued = self._queued_now(tenant)
                if queued >= quota.queued_jobs:
                    raise Conflict(
                        f"{queued:,} jobs of the tenant wait already, expected at most {quota.queued_jobs:,}; submit "
                        "again when some have started"
                    )
                self._queued[tenant] = queued + 1, self._queued[tenant][1]
        return quota

    def _queued_now(self, tenant: str) -> int:
        count, known_until = self._queued.get(tenant, (0, float("-inf")))
        if self._monotonic() >= known_until:
            began = self._monotonic()
            with self._database.reading() as connection:
                count = connection.scalar(_queued(tenant)) or 0
            self._queued[tenant] = count, began + REMEMBERED_S
        return count

    def limit_of_upload(self, tenant: str, name: str) -> Limit:
        """How much may arrive, of all uploads of the tenant at this control plane together: what is left of the quota,
        or as much as the largest data set of that name has, which may be sent again."""
        allowed = self.quota_of(tenant).stored_bytes
        if allowed is None:
            return Limit()
        stored = self.stored_bytes(tenant)
        sizes = sa.func.coalesce(sa.func.max(datasets.c.size_bytes), 0)
        with self._database.reading() as connection:
            named = sa.select(sizes).where(datasets.c.tenant == tenant, datasets.c.name == name)
            again: int = connection.scalar(named) or 0
        together = self._arriving.setdefault(tenant, Together())
        return Limit(max(allowed - stored, again), _full(stored, allowed), together)

    def arriving(self, tenant: str) -> int:
        """Bytes of such uploads that have arrived and are not listed yet."""
        return self._arriving[tenant].bytes if tenant in self._arriving else 0

    def check_upload(self, tenant: str, size_bytes: int) -> None:
        """Raises TooLarge where a new data set of that size would be more than the tenant may keep."""
        allowed = self.quota_of(tenant).stored_bytes
        if allowed is not None:
            _check_room(size_bytes, self.stored_bytes(tenant), allowed)

    def room_for(self, tenant: str, size_bytes: int) -> Callable[[Connection], None]:
        """The same check, to be made in the transaction that adds the data set."""
        allowed = self.quota_of(tenant).stored_bytes

        def check(connection: Connection) -> None:
            if allowed is not None:
                _check_room(size_bytes, stored_before(connection, {tenant})[tenant], allowed)

        return check


def stored_before(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Bytes that each of these tenants has stored, for a transaction that adds to them: of those that add to one
    tenant, each waits here for the one before."""
    if not names:
        return {}
    rows = sa.select(tenants.c.name).where(tenants.c.name.in_(names))
    # In one order for all, so that of two neither waits for the other.
    connection.execute(rows.order_by(tenants.c.name).with_for_update(key_share=True))
    return _stored(connection, names)


def check_room_for_job(size_bytes: int, stored: int, allowed: int) -> None:
    """Raises Conflict where a job's model and its plan would be more than its tenant may keep."""
    if stored + size_bytes > allowed:
        said = f"there is no room for {size_bytes:,} bytes, the job's model and its plan"
        raise Conflict(f"{said}, {_full(stored, allowed)}")


def _stored(connection: Connection, names: Collection[str]) -> dict[str, int]:
    stored = dict.fromkeys(names, 0)
    size_of_table = sa.func.coalesce(datasets.c.table_bytes, datasets.c.size_bytes)
    for tenant, size in ((datasets.c.tenant, size_of_table), (jobs.c.tenant, jobs.c.model_bytes + jobs.c.plan_bytes)):
        query = sa.select(tenant, sa.func.sum(size).label("bytes")).where(tenant.in_(names)).group_by(tenant)
        for row in connection.execute(query):
            stored[row.tenant] += int(row.bytes)
    return stored


def _check_room(size_bytes: int, stored: int, allowed: int) -> None:
    if stored + size_bytes > allowed:
        raise too_large(max(0, allowed - stored), _full(stored, allowed))


def _full(stored: int, allowed: int) -> str:
    return f"as the tenant has stored {stored:,} of the {allowed:,} bytes of its quota; delete data sets or jobs"


def _queued(tenant: str) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(jobs).where(jobs.c.tenant == tenant, WAITS)


def _found(row: TenantRow | None, name: str) -> TenantRow:
    if row is None:
        raise NotFound(f"there is no tenant {ascii(name[:100])[1:-1]}: the first key of a tenant makes it")
    return row
