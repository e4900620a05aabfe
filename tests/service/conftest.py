"""Databases, and services in this process: with a cluster that does what the test says, or one that really trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.postgresql import PostgreSQL, newest_binaries
from service.catalog import Catalog
from service.database import Database
from service.settings import Settings
from support.clusters import LocalCluster, ScriptedCluster
from support.databases import migrate, migrated
from support.jobs import with_a_dataset
from support.planes import ControlPlane
from support.service_in_process import WITHIN_S, Service, Start

KINDS = ["sqlite", "postgresql"]  # of databases


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


@pytest.fixture(scope="session")
def migrated_url(postgresql: PostgreSQL) -> str:
    """A PostgreSQL database with all tables, to be copied."""
    url = postgresql.new_database()
    migrate(url)
    return url


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite3'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, with all tables and nothing in them."""
    if request.param == "sqlite":
        (tmp_path / "test.sqlite3").write_bytes(migrated())
        return f"sqlite:///{tmp_path / 'test.sqlite3'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database(like=request.getfixturevalue("migrated_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """With all tables, and nothing in them."""
    database = Database(database_url)
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


def _with_a_dataset(folder: Path, cluster: ScriptedCluster) -> Iterator[Service]:
    service = Service(Settings(data_dir=folder), cluster)
    try:
        assert service.control.ready.wait(WITHIN_S), service.control.problems()
        service.upload()
        yield service
    finally:
        service.cluster.let_go()
        service.stop()


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a data set, for all tests of a file that leave neither a job, a data set nor a key behind."""
    for service in _with_a_dataset(tmp_path_factory.mktemp("unchanged"), ScriptedCluster()):
        before = service.left()
        yield service
        assert service.left() == before
        assert list(service.control.folder.jobs.iterdir()) == service.http.get("/v1/jobs").json()["items"] == []
        assert len(service.http.get("/v1/keys").json()["items"]) == 1


@pytest.fixture(scope="module")
def training_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a data set, which really trains, for all tests of a file: each looks at jobs of its own."""
    yield from _with_a_dataset(tmp_path_factory.mktemp("training"), LocalCluster(cpus=2))


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    """With a data set."""
    return with_a_dataset(database, tmp_path)


@pytest.fixture
def plane(database: Database, catalog: Catalog) -> Iterator[ControlPlane]:
    """Without its threads that look at clocks; its attempts do what the test says."""
    plane = ControlPlane(database, catalog, ScriptedCluster())
    yield plane
    plane.runners.stop(0)


@pytest.fixture
def other(database: Database, catalog: Catalog) -> Iterator[ControlPlane]:
    """Another one, on the same database."""
    other = ControlPlane(database, catalog, ScriptedCluster())
    yield other
    other.runners.stop(0)
