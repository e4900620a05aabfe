"""The database is brought up to date by migrations, and keeps what it was told."""

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.database import Database, dataset_names, datasets, metadata, migrations_of


def test_the_migrations_make_the_tables_that_the_code_expects(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.reading() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0004"


def test_versions_of_before_the_second_migration_are_not_used_again(database_url: str) -> None:
    database = Database(database_url)
    kept = {"rows": 1, "size_bytes": 1, "sha256": "", "read_as": "", "columns": [], "categories": {}, "created_at": ""}
    with database.writing() as connection:
        command.upgrade(migrations_of(connection), "0001")
        rows = [{"id": f"ds_{number}", "name": "numbers", "version": number, **kept} for number in (2, 3)]
        connection.execute(sa.insert(datasets), rows)
    database.migrate()
    with database.reading() as connection:
        assert connection.execute(sa.select(dataset_names)).all() == [("numbers", 3)]
    database.close()


def test_what_is_committed_in_sqlite_is_on_disk() -> None:
    database = Database("sqlite://")
    with database.reading() as connection:
        settings = {name: connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("synchronous", "foreign_keys")}
    database.close()
    assert settings == {"synchronous": 3, "foreign_keys": 1}
