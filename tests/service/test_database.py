"""The database is brought up to date by migrations, and keeps what it was told."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.database import (
    AWAY,
    DEFAULT_TENANT,
    Database,
    dataset_names,
    datasets,
    idempotency_keys,
    jobs,
    metadata,
    migrations_of,
    plans,
    tenants,
)
from service.store import JobFilter, Store
from service.webhooks.registry import Webhooks
from service.webhooks.targets import Rules
from support.jobs import TENANT, new_job, with_a_dataset


def test_the_migrations_make_the_tables_that_the_code_expects(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.reading() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0016"


def test_a_database_belongs_to_the_data_folder_that_was_first(database: Database) -> None:
    assert database.belongs_to("folder_1")
    assert database.belongs_to("folder_1"), "all who share it, and who starts again"
    assert not database.belongs_to("folder_2")
    assert database.belongs_to("folder_1")


def test_versions_of_before_the_second_migration_are_not_used_again(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    kept = {"rows": 1, "size_bytes": 1, "sha256": "", "read_as": "", "columns": [], "categories": {}, "created_at": ""}
    with database.writing() as connection:
        command.upgrade(migrations_of(connection), "0001")
        rows = [{"id": f"ds_{number}", "name": "numbers", "version": number, **kept} for number in (2, 3)]
        connection.execute(sa.insert(datasets), rows)
    database.migrate()
    with database.reading() as connection:
        assert connection.execute(sa.select(dataset_names)).all() == [(DEFAULT_TENANT, "numbers", 3)]
    database.close()


def test_what_was_there_before_tenants_belongs_to_the_default_one(database: Database, tmp_path: Path) -> None:
    with_a_dataset(database, tmp_path)
    Store(database).add(new_job("once"))
    with database.writing() as connection:
        command.downgrade(migrations_of(connection), "0004")
        assert connection.execute(sa.text("SELECT name, last_version FROM dataset_names")).all() == [("numbers", 1)]
    database.migrate()
    with database.reading() as connection:
        found = [connection.scalars(sa.select(table.c.tenant)).all() for table in (datasets, jobs, idempotency_keys)]
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert found == [[TENANT]] * 3
    assert Store(database).known_for(TENANT, "once", "r") is not None


def test_plans_payloads_and_sizes_are_as_they_were_when_tables_of_their_own_come(
    database: Database, tmp_path: Path
) -> None:
    catalog, store = with_a_dataset(database, tmp_path), Store(database)
    webhooks = Webhooks(database, Rules(), lambda: b"m" * 32)
    values = {"events": ["job.queued"], "labels": {"team": "a"}, "description": ""}
    webhook, _ = webhooks.add(TENANT, "https://a.example/", values)
    store.add(new_job(labels={"team": "a"}, epochs=3, steps_per_epoch=7))

    def found() -> list[Any]:
        of_webhook = webhooks.deliveries(TENANT, webhook.id, None, None, 10)
        listed = [store.get(TENANT, each.job.id) for each in store.list(TENANT, JobFilter(), None, 10)]
        listed += catalog.list(TENANT, None, 10)
        return [row._asdict() for row in (*listed, *of_webhook)]

    before = found()
    with database.writing() as connection:
        command.downgrade(migrations_of(connection), "0015")
        payload = connection.scalar(sa.text("SELECT payload FROM deliveries"))
    database.migrate()
    after = found()
    assert (len(before), payload) == (3, before[-1]["payload"])
    assert after[-1].pop("payload_id") == before[-1]["id"] and before[-1].pop("payload_id").startswith("pay_")
    assert after == before
    assert (after[0]["epochs"], after[0]["steps_per_epoch"]) == (3, 7)
    store.delete(TENANT, str(store.request(TENANT, before[0]["id"], "cancel").id))
    with database.reading() as connection:
        assert connection.execute(sa.select(plans)).all() == [], "it goes with its job"


def test_what_is_committed_in_sqlite_is_on_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    names = ("journal_mode", "synchronous", "foreign_keys")
    with database.reading() as connection:
        settings = {name: connection.scalar(sa.text(f"PRAGMA {name}")) for name in names}
    database.close()
    assert settings == {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1}


def test_in_sqlite_one_writes_at_a_time_and_others_read_meanwhile(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}?timeout=0.05")
    database.migrate()
    count = sa.select(sa.func.count()).select_from(tenants)
    with database.writing() as writing:
        writing.execute(sa.insert(tenants).values(name="new", created_at="now"))
        with database.reading() as reading:
            before = reading.scalar(count)
            with pytest.raises(AWAY), database.writing():
                pass
    with database.reading() as reading:
        assert reading.scalar(count) == before + 1
    database.close()
