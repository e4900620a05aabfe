"""Databases, and services in this process: with a cluster that does what the test says, or one that really trains."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.database import Database
from service.settings import Settings
from support.clusters import LocalCluster, ScriptedCluster
from support.service_in_process import POSTGRESQL, WITHIN_S, Service, Start


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind; of PostgreSQL, a schema of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.sqlite3'}"
        return
    if POSTGRESQL is None:
        pytest.skip("CHAINRULE_TEST_DATABASE_URL names no PostgreSQL")
    schema = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(POSTGRESQL)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield f"{POSTGRESQL}{'&' if '?' in POSTGRESQL else '?'}options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """With all tables, and nothing in them."""
    database = Database(database_url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts services on one data folder, one after the other; `stop()` them in between, or leave it to the fixture."""
    running: list[Service] = []

    def begin(cluster: Any = None, database_url: str | None = None) -> Service:
        for service in running:
            service.stop()
        settings = Settings(data_dir=tmp_path / "data", database_url=database_url)
        running.append(Service(settings, cluster or ScriptedCluster()))
        assert running[-1].control.ready.wait(WITHIN_S), running[-1].control.problems()
        return running[-1]

    yield begin
    for service in running:
        service.cluster.let_go()
        service.stop()


@pytest.fixture
def service(start: Start) -> Service:
    """A service with a data set; its jobs do what the test says."""
    service = start()
    service.upload()
    return service


@pytest.fixture
def training_service(start: Start) -> Service:
    """A service with a data set, which really trains."""
    service = start(LocalCluster(cpus=2))
    service.upload()
    return service
