"""Databases, and services in this process: with a cluster that does what the test says, or one that really trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.postgresql import PostgreSQL, newest_binaries
from service.database import Database
from service.settings import Settings
from support.clusters import LocalCluster, ScriptedCluster
from support.service_in_process import WITHIN_S, Service, Start


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server that all tests share."""
    yield from _running()


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server that tests may stop, if they start it again."""
    yield from _running()


def _running() -> Iterator[PostgreSQL]:
    if newest_binaries() is None:
        pytest.skip("no PostgreSQL is installed: apt-get install postgresql")
    with PostgreSQL(settings={"fsync": "off", "max_connections": "200"}) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite3'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


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
