"""Jobs as they come in: what a request asks for becomes a plan, and the plan a job that is queued.

Many come at once, and to hand each to a thread and back takes longer than most of what is done there. So those that
are planned in a moment are planned by the thread that queues them, many together; what may take longer is planned
beforehand, by a thread of its own, and so are those for which that thread has no time left.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ulid import ULID

from service.batches import Batches
from service.catalog import Catalog
from service.database import AWAY
from service.field_errors import validated
from service.keys import Principal
from service.store import Store
from service.submission import Added, NewJob, digest_of_request
from service.tenants import Tenants
from shared.errors import InvalidInput, TooManyRequests
from shared.plan import Plan
from shared.spec import JobSpec, ValidationDataset
from shared.table import TableFile

__all__ = ["LONG_PLAN_BYTES", "Asked", "Intake"]

MAX_BATCH = 100  # jobs that are committed together, fewer where their plans are …
BATCH_BYTES = 4 << 20  # … as long as that together: others wait meanwhile
LONG_PLAN_BYTES = BATCH_BYTES // MAX_BATCH
PLANS_FOR_S = 0.05  # before a batch is written: who comes later in it is planned apart
QUICK_COLUMNS = 200  # of a data set …
QUICK_CELLS, QUICK_CATEGORIES = 1_000_000, 10_000  # … which may have to be split, and have its categories counted

Tables = tuple[TableFile, TableFile | None]
"""The data set to train on, and the one to validate on, if there is one."""


@dataclass(frozen=True)
class Asked:
    """A job that a request asks for."""

    who: Principal
    data: Any
    """The request's JSON."""
    recheck: Callable[[], Principal]
    """Finds out anew who asks, who may have waited. Raises Unauthorized."""
    idempotency_key: str | None = None
    refused: TooManyRequests | None = None
    """What it is to be refused with unless that key has made a job before."""


class Intake:
    """Plans jobs and queues them."""

    def __init__(self, store: Store, catalog: Catalog, tenants: Tenants) -> None:
        self._store, self._catalog, self._tenants = store, catalog, tenants
        self._batches: Batches[Asked | NewJob, Added | NewJob | None] = Batches(self._do, BATCH_BYTES, size=_size)

    async def submit(self, new: NewJob) -> Added:
        """Queues a job; returns it, and whether it is new: with an idempotency key seen before it is the job of then.

        Jobs that come at the same time are committed together. Raises InvalidInput when that key came with another
        request, or a data set has been deleted meanwhile; Conflict where its tenant has no room for it.
        """
        added = await self._batches.add(new)
        assert added is not None and not isinstance(added, NewJob), "it was planned already"
        return added

    async def submit_if_quick(self, asked: Asked) -> Added | NewJob | None:
        """The same for what is not planned yet, if that takes but a moment. Else nothing is queued: None where it is
        still to be planned, the planned job where its plan is so long that its turn is to be waited for."""
        return await self._batches.add(asked)

    def _do(self, batch: Sequence[Asked | NewJob]) -> Sequence[Added | NewJob | Exception | None]:
        outcomes = self._planned_if_quick(batch)
        new = {
            place: made
            for place, made in enumerate(outcomes)
            if isinstance(made, NewJob) and (made is batch[place] or made.plan_bytes <= LONG_PLAN_BYTES)
        }
        added: Sequence[Added | Exception]
        try:
            added = self._store.add_all([*new.values()])
        except Exception as error:  # noqa: BLE001  (raised by those who wait)
            added = [error] * len(new)
        for place, outcome in zip(new, added, strict=True):
            outcomes[place] = outcome
        return outcomes

    def _planned_if_quick(self, batch: Sequence[Asked | NewJob]) -> list[Added | NewJob | Exception | None]:
        """What those that are not planned yet come to. Where the database does not answer one, the others need not ask:
        each would wait for it as long."""
        until = time.monotonic() + PLANS_FOR_S
        away: Exception | None = None
        outcomes: list[Added | NewJob | Exception | None] = []
        for item in batch:
            outcome = item if isinstance(item, NewJob) else away or self._tried(item, until)
            if isinstance(outcome, AWAY):
                away = outcome
            outcomes.append(outcome)
        return outcomes

    def _tried(self, asked: Asked, until: float) -> Added | NewJob | Exception | None:
        try:
            asked.recheck()
            return self._planned(asked, if_quick=True) if time.monotonic() < until else None
        except Exception as error:  # noqa: BLE001  (raised by who waits)
            return error

    # ------------------------------------------------------------ planning
    def planned(self, asked: Asked) -> NewJob | Added:
        """The job to be queued, or the one that the key made before. Raises `asked.refused` unless there is that one;
        InvalidInput; Conflict where another job of the tenant may not wait."""
        new = self._planned(asked)
        assert new is not None, "it may take long"
        return new

    def _planned(self, asked: Asked, *, if_quick: bool = False) -> NewJob | Added | None:
        tenant, key, refused = asked.who.tenant, asked.idempotency_key, asked.refused
        try:
            spec = validated(JobSpec, asked.data)
            sent = "" if key is None else digest_of_request(spec)
            known = None if key is None else self._store.known_for(tenant, key, sent)
        except InvalidInput:
            if refused is not None:
                raise refused from None
            raise
        if known is not None:
            return known, False
        if refused is not None:
            raise refused
        tables = self._tables(tenant, spec, if_remembered=if_quick)
        if tables is None or (if_quick and not _is_quick(spec, tables)):
            return None
        training, validation = tables
        plan = self._plan(tenant, spec, tables)
        quota = self._tenants.check_submit(tenant)
        return NewJob(
            id=f"job_{ULID()}",
            tenant=tenant,
            plan=plan,
            dataset_id=training.dataset_id,
            dataset_sha256=training.sha256,
            validation_dataset_id=None if validation is None else validation.dataset_id,
            idempotency_key=key,
            request_sha256=sent,
            submitted_by=asked.who.key_name,
            may_store=quota.stored_bytes,
        )

    def dry_run(self, tenant: str, data: Any) -> Plan:
        """What a spec means for its data sets. Raises InvalidInput."""
        spec = validated(JobSpec, data)
        tables = self._tables(tenant, spec)
        assert tables is not None, "it may take long"
        return self._plan(tenant, spec, tables)

    def _tables(self, tenant: str, spec: JobSpec, *, if_remembered: bool = False) -> Tables | None:
        """The data sets that a spec names; None where one is not remembered, and has to be. Raises InvalidInput."""
        names = {"dataset": spec.dataset}
        if isinstance(spec.validation, ValidationDataset):
            names["validation.dataset"] = spec.validation.dataset
        look = self._catalog.remembered_tables_of if if_remembered else self._catalog.tables_of
        found = look(tenant, *names.values())
        if found is None:
            return None
        tables: list[TableFile] = []
        for (field, name), table in zip(names.items(), found, strict=True):
            if table is None:
                expected = "the id or the name of a data set; GET /v1/datasets lists them"
                raise InvalidInput.of(field, name, expected)
            tables.append(table)
        return tables[0], tables[1] if len(tables) > 1 else None

    def _plan(self, tenant: str, spec: JobSpec, tables: Tables) -> Plan:
        from workers.planning import plan

        self._tenants.check_priority(tenant, spec.priority)
        return plan(spec, *tables)


def _size(item: Asked | NewJob) -> int:
    return LONG_PLAN_BYTES if isinstance(item, Asked) else max(item.plan_bytes, LONG_PLAN_BYTES)


def _is_quick(spec: JobSpec, tables: Tables) -> bool:
    """Whether a plan takes but a moment; to check parameters brings numba."""
    return spec.initial_parameters is None and all(_is_small(table) for table in tables if table is not None)


def _is_small(table: TableFile) -> bool:
    columns, categories = len(table.columns), sum(map(len, table.categories.values()))
    return columns <= QUICK_COLUMNS and table.rows * columns <= QUICK_CELLS and categories <= QUICK_CATEGORIES
