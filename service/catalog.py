"""The data sets that there are: their rows in the database, and where their files lie."""

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row, exc

from service.clock import now
from service.database import Database, dataset_names, datasets, jobs
from service.jobs import JobState
from shared.errors import Conflict, NotFound
from shared.table import Column, TableFile

if TYPE_CHECKING:
    from service.datasets import ReadOptions

__all__ = ["PAGE_BYTES", "Catalog", "NewDataset", "digest_of_reading"]

MAX_TABLES = 100  # that are remembered …
MAX_TABLES_BYTES = 128 << 20  # … as far as they have no more memory together
COLUMN_BYTES = 1_600  # of memory: a column and its profile
PAGE_BYTES = 4 << 20  # of columns' profiles, after which a list shows no further data set
ENDED = [state for state in JobState if state.is_terminal]

DatasetRow = Row[Any]


@dataclass(frozen=True)
class NewDataset:
    """A data set whose table is written, to be listed."""

    id: str
    tenant: str
    name: str
    size_bytes: int
    read_as: str
    table: TableFile
    table_bytes: int


def digest_of_reading(media_type: str, options: "ReadOptions") -> str:
    """What tells two ways to read the same bytes apart."""
    return hashlib.sha256(json.dumps([media_type, asdict(options)], sort_keys=True).encode()).hexdigest()


class Catalog:
    """Data sets, each its tenant's, kept in a database; their tables are in `folder`/<id>/table.arrow. `is_alone`:
    nobody else adds or removes any there, so that what a name means is asked for once, as long as we change nothing."""

    def __init__(self, database: Database, folder: Path, *, is_alone: bool = False) -> None:
        self._database, self._is_alone = database, is_alone
        self.folder = folder
        self._tables: dict[str, TableFile] = {}
        self._sizes: dict[str, int] = {}
        self._meant: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._changes = 0

    def add(
        self, new: NewDataset, check: Callable[[Connection], None] = lambda connection: None
    ) -> tuple[DatasetRow, bool]:
        """Lists a data set as the next version of its name, unless `check` raises; returns it, and whether it is new.

        It is not when the same bytes were uploaded under that name, to be read in the same way, by somebody quicker.
        """
        with self._changing():
            try:
                return self._add(new, check)
            except exc.IntegrityError:  # the name was new, and somebody quicker has taken it into use
                return self._add(new, check)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Forgets what names mean, once they may mean something else, however that has ended."""
        try:
            yield
        finally:
            with self._lock:
                self._changes += 1
                self._meant.clear()

    def _add(self, new: NewDataset, check: Callable[[Connection], None]) -> tuple[DatasetRow, bool]:
        with self._database.writing() as connection:
            last = _last_version(connection, new)
            known = _same(connection, new.tenant, new.name, new.table.sha256, new.read_as)
            if known is not None:
                return known, False
            check(connection)
            return _insert(connection, new, last + 1), True

    def same(self, tenant: str, name: str, sha256: str, read_as: str) -> DatasetRow | None:
        """The data set that the same bytes under the same name made before, read in the same way."""
        with self._database.reading() as connection:
            return _same(connection, tenant, name, sha256, read_as)

    def find(self, tenant: str, id_or_name: str) -> DatasetRow:
        """A data set by its id, or the newest version of a name; its categories, which may have megabytes, are not
        read. Raises NotFound."""
        with self._database.reading() as connection:
            return _find(connection, tenant, id_or_name, LISTING)

    def state_of(self, of_id: str) -> str | None:
        """The state of the job of that id, or the name of the data set, whosever they are; None where neither is."""
        either = sa.union_all(
            sa.select(jobs.c.state).where(jobs.c.id == of_id), sa.select(datasets.c.name).where(datasets.c.id == of_id)
        )
        with self._database.reading() as connection:
            found: str | None = connection.scalar(either)
        return found

    def list(self, tenant: str, before: int | None, limit: int) -> Sequence[DatasetRow]:
        """Data sets, newest first, with a number below `before`: as many as `limit`, or until their profiles have
        PAGE_BYTES. Their categories, which may be many times as long, are not read."""
        found = sa.select(datasets.c.number, datasets.c.profile_bytes).where(datasets.c.tenant == tenant)
        if before is not None:
            found = found.where(datasets.c.number < before)
        each = found.order_by(datasets.c.number.desc()).limit(limit).subquery()
        so_far = sa.func.sum(each.c.profile_bytes).over(order_by=each.c.number.desc()) - each.c.profile_bytes
        page = sa.select(each.c.number, so_far.label("so_far")).subquery()
        listed: sa.Select[Any] = sa.select(*LISTED)
        query = listed.join(page, page.c.number == datasets.c.number)
        query = query.where(page.c.so_far < PAGE_BYTES).order_by(datasets.c.number.desc())
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def delete(self, tenant: str, dataset_id: str) -> None:
        """Takes a data set off the list. Raises NotFound, or Conflict while a job needs it."""
        with self._changing(), self._database.writing() as connection:
            ours = datasets.c.tenant == tenant, datasets.c.id == dataset_id
            if not connection.execute(sa.delete(datasets).where(*ours)).rowcount:
                raise _not_found(dataset_id)
            # After the row is locked: whoever submits a job on it now waits for us, and then finds it gone.
            uses = sa.or_(jobs.c.dataset_id == dataset_id, jobs.c.validation_dataset_id == dataset_id)
            user = connection.execute(
                sa.select(jobs.c.id, jobs.c.state).where(uses, jobs.c.state.not_in(ENDED))
            ).first()
            if user is not None:
                raise Conflict(f"data set {dataset_id} is used by {user.id}, which is {user.state}; cancel that first")

    def tables_of(self, tenant: str, *ids_or_names: str) -> Sequence[TableFile | None]:
        """The tables of data sets by their ids, or of the newest versions of names; None for what is not there.

        What a data set holds never changes, so only which one is meant is asked for each time, if others may change it.
        """
        found = self._tables_of(tenant, ids_or_names)
        assert found is not None, "they may be read"
        return found

    def remembered_tables_of(self, tenant: str, *ids_or_names: str) -> Sequence[TableFile | None] | None:
        """The same, if no table has to be read for it, which may be megabytes; else None."""
        return self._tables_of(tenant, ids_or_names, if_remembered=True)

    def _tables_of(
        self, tenant: str, ids_or_names: Sequence[str], *, if_remembered: bool = False
    ) -> Sequence[TableFile | None] | None:
        meant = [self._tables.get(self._meant.get((tenant, id_or_name), "")) for id_or_name in ids_or_names]
        if None not in meant:
            return meant
        changes, found = self._changes, []
        with self._database.reading() as connection:
            for id_or_name in ids_or_names:
                row = _found(connection, tenant, id_or_name, ID_ONLY)
                if if_remembered and row is not None and row.id not in self._tables:
                    return None
                found.append(None if row is None else self._table(connection, tenant, row.id))
        with self._lock:
            self._remember([table for table in found if table is not None])
            if self._is_alone and changes == self._changes:  # else it may be what they meant before
                if len(self._meant) >= MAX_TABLES:
                    self._meant.clear()
                names = [(tenant, id_or_name) for id_or_name in ids_or_names]
                meant_now = zip(names, found, strict=True)
                self._meant |= {name: table.dataset_id for name, table in meant_now if table is not None}
        return found

    def _remember(self, tables: Sequence[TableFile]) -> None:
        """Forgets others for them, the oldest first; one alone may have more memory than all."""
        for table in tables:
            if table.dataset_id not in self._tables:
                self._tables[table.dataset_id], self._sizes[table.dataset_id] = table, _memory_of(table)
        while len(self._tables) > MAX_TABLES or (
            len(self._tables) > 1 and sum(self._sizes.values()) > MAX_TABLES_BYTES
        ):
            oldest = next(iter(self._tables))
            del self._tables[oldest], self._sizes[oldest]

    def _table(self, connection: Connection, tenant: str, dataset_id: str) -> TableFile:
        known = self._tables.get(dataset_id)
        return self._made(_find(connection, tenant, dataset_id, WHOLE)) if known is None else known

    def table(self, tenant: str, id_or_name: str) -> TableFile:
        """A data set as the engine sees it, found as by `find`. Raises NotFound."""
        with self._database.reading() as connection:
            return self._made(_find(connection, tenant, id_or_name, WHOLE))

    def _made(self, dataset: DatasetRow) -> TableFile:
        return TableFile(
            dataset_id=dataset.id,
            path=str(self.folder / dataset.id / "table.arrow"),
            rows=dataset.rows,
            sha256=dataset.sha256,
            columns=[Column.model_validate(column) for column in dataset.columns],
            categories=dataset.categories,
        )


def _memory_of(table: TableFile) -> int:
    """About how many bytes it has."""
    texts = (category for categories in table.categories.values() for category in categories)
    return COLUMN_BYTES * len(table.columns) + sum(sys.getsizeof(text) + 8 for text in texts)


def _find(connection: Connection, tenant: str, id_or_name: str, queries: "_Queries") -> DatasetRow:
    found = _found(connection, tenant, id_or_name, queries)
    if found is None:
        raise _not_found(id_or_name)
    return found


def _not_found(id_or_name: str) -> NotFound:
    return NotFound(f"there is no data set {ascii(id_or_name[:100])[1:-1]}")


class _Queries(NamedTuple):
    """What finds a data set, of some of its columns; made once, as to make a statement takes longer than to have it
    answered."""

    by_id: sa.Select[Any]
    by_name: sa.Select[Any]

    @classmethod
    def of(cls, *columns: sa.Column[Any]) -> "_Queries":
        ours = sa.select(*columns).where(datasets.c.tenant == sa.bindparam("of_tenant"))
        named = ours.where(datasets.c.name == sa.bindparam("wanted")).order_by(datasets.c.version.desc()).limit(1)
        return cls(ours.where(datasets.c.id == sa.bindparam("wanted")), named)


LISTED = [column for column in datasets.c if column.name != "categories"]
WHOLE, LISTING = _Queries.of(*datasets.c), _Queries.of(*LISTED)
ID_ONLY = _Queries.of(datasets.c.number, datasets.c.id)


def _found(connection: Connection, tenant: str, id_or_name: str, queries: _Queries) -> DatasetRow | None:
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in id_or_name):
        return None
    wanted = {"of_tenant": tenant, "wanted": id_or_name}
    if id_or_name.startswith("ds_"):  # a name may begin so, too
        found = connection.execute(queries.by_id, wanted).one_or_none()
        if found is not None:
            return found
    return connection.execute(queries.by_name, wanted).one_or_none()


def _same(connection: Connection, tenant: str, name: str, sha256: str, read_as: str) -> DatasetRow | None:
    query: sa.Select[Any] = sa.select(*LISTED).where(
        datasets.c.tenant == tenant,
        datasets.c.name == name,
        datasets.c.sha256 == sha256,
        datasets.c.read_as == read_as,
    )
    return connection.execute(query.order_by(datasets.c.version.desc()).limit(1)).one_or_none()


def _last_version(connection: Connection, new: NewDataset) -> int:
    """The highest version that its name ever had, 0 for a new name. Whoever asks next waits until we are done."""
    query = sa.select(dataset_names.c.last_version).where(*_named(new))
    last: int | None = connection.scalar(query.with_for_update())
    if last is None:
        connection.execute(sa.insert(dataset_names).values(tenant=new.tenant, name=new.name, last_version=0))
    return last or 0


def _named(new: NewDataset) -> tuple[sa.ColumnElement[bool], ...]:
    return dataset_names.c.tenant == new.tenant, dataset_names.c.name == new.name


def _insert(connection: Connection, new: NewDataset, version: int) -> DatasetRow:
    connection.execute(sa.update(dataset_names).where(*_named(new)).values(last_version=version))
    columns = [column.model_dump(mode="json", exclude_none=True) for column in new.table.columns]
    values = {
        "id": new.id,
        "tenant": new.tenant,
        "name": new.name,
        "version": version,
        "rows": new.table.rows,
        "size_bytes": new.size_bytes,
        "table_bytes": new.table_bytes,
        "sha256": new.table.sha256,
        "read_as": new.read_as,
        "columns": columns,
        "profile_bytes": len(json.dumps(columns, ensure_ascii=False, separators=(",", ":"))),
        "categories": new.table.categories,
        "created_at": now(),
    }
    return connection.execute(sa.insert(datasets).values(values).returning(*LISTED)).one()
