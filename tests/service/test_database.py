"""The database is brought up to date by migrations, and keeps what it was told."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.database import Database, metadata


def test_the_migrations_make_the_tables_that_the_code_expects(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.reading() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0001"


def test_what_is_committed_in_sqlite_is_on_disk() -> None:
    database = Database("sqlite://")
    with database.reading() as connection:
        settings = {name: connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("synchronous", "foreign_keys")}
    database.close()
    assert settings == {"synchronous": 3, "foreign_keys": 1}
