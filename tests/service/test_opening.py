"""The service is alive from its first moment on, and says when it cannot start."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.data_folder import DataFolder
from service.opening import App, Opening
from service.settings import Settings
from shared.errors import Unavailable

Scope = MutableMapping[str, Any]


class Server:
    """What a server does with an application: its lifespan in a task, and a request now and then."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._to_app: asyncio.Queue[Scope] = asyncio.Queue()
        self._from_app: asyncio.Queue[Scope] = asyncio.Queue()

    async def __aenter__(self) -> "Server":
        self._life = asyncio.create_task(self._app({"type": "lifespan"}, self._to_app.get, self._from_app.put))
        self._to_app.put_nowait({"type": "lifespan.startup"})
        assert await self._from_app.get() == {"type": "lifespan.startup.complete"}
        return self

    async def __aexit__(self, *_: object) -> None:
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        await self._life

    async def status(self, path: str) -> int:
        sent: list[Scope] = []

        async def send(message: Scope) -> None:
            sent.append(message)

        await self._app({"type": "http", "path": path}, self._to_app.get, send)
        return int(sent[0]["status"])


async def slow_app(scope: Scope, receive: Any, send: Any) -> None:
    """Answers 204 to everything."""
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})


def test_it_is_alive_while_the_application_is_made_and_then_is_the_application() -> None:
    may_be_made = threading.Event()

    def make() -> App:
        assert may_be_made.wait(10)
        return slow_app

    async def scenario() -> list[int]:
        async with Server(Opening(make, lambda: None)) as server:
            before = [await server.status("/healthz"), await server.status("/readyz")]
            may_be_made.set()
            while await server.status("/readyz") == 503:
                await asyncio.sleep(0.01)
            return [*before, await server.status("/healthz")]

    assert asyncio.run(scenario()) == [200, 503, 204]


def test_an_application_that_cannot_be_made_ends_the_server() -> None:
    failed = asyncio.Event()

    def make() -> App:
        raise ImportError("no such library")

    async def scenario() -> None:
        server = Server(Opening(make, failed.set))
        await server.__aenter__()
        await asyncio.wait_for(failed.wait(), 10)

    asyncio.run(scenario())


def test_a_folder_that_is_opened_again_is_cleared_of_what_was_half_done(tmp_path: Any) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.open()
    (folder.uploads / "ds_1").mkdir()
    (folder.datasets / "ds_2").mkdir()
    folder.close()
    again = DataFolder(tmp_path / "data")
    again.open()
    assert (list(again.uploads.iterdir()), [path.name for path in again.datasets.iterdir()]) == ([], ["ds_2"])
    again.close()


def test_a_shared_folder_is_for_services_that_all_share_it(tmp_path: Any) -> None:
    alone, one, two = (DataFolder(tmp_path / "data", shared=shared) for shared in (False, True, True))
    one.open()
    (one.uploads / "ds_1").mkdir()
    two.open()
    assert [path.name for path in two.uploads.iterdir()] == ["ds_1"], "an upload of the other is on its way"
    with pytest.raises(Unavailable, match="in use by another service"):
        alone.open()
    one.close()
    two.close()
    alone.open()
    assert list(alone.uploads.iterdir()) == []
    with pytest.raises(Unavailable, match="in use by another service"):
        one.open()
    alone.close()


def test_jobs_are_shared_only_where_database_and_cluster_can_be(tmp_path: Any) -> None:
    assert not Settings(data_dir=tmp_path, ray_address="head:6379").shared
    assert not Settings(data_dir=tmp_path, database_url="postgresql://u@h/d").shared
    assert Settings(data_dir=tmp_path, database_url="postgresql://u@h/d", ray_address="head:6379").shared


def test_settings_come_from_the_environment_and_know_their_database(tmp_path: Any) -> None:
    assert Settings(data_dir=tmp_path).database == f"sqlite:///{tmp_path}/chainrule.sqlite3"
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        assert Settings(database_url=f"{scheme}://u@h/d").database == "postgresql+psycopg://u@h/d"
    assert (Settings().host, Settings().port) == ("127.0.0.1", 8400)
    assert Settings().checkpoints is None
    for url in ("s3://bucket", "s3://bucket/", "s3://my.bucket-1/a/b"):
        assert Settings(checkpoints=url).checkpoints == url
    for url in ("bucket", "gs://bucket", "s3://", "s3://Bucket", "s3://bucket//a", "s3://bucket/a?b"):
        with pytest.raises(ValidationError, match="expected s3://bucket or s3://bucket/prefix"):
            Settings(checkpoints=url)


IMPORTS = """
import abc, collections.abc, importlib, sys, threading
from pathlib import Path
from service import main
from service.settings import Settings

class Unrelated(abc.ABC): ...

def made_slowly(kind, name, bases, names, **more):  # as ABCMeta.__new__, while another thread asks
    made = type.__new__(kind, name, bases, names, **more)
    Unrelated.register(type("New", (), {}))  # so that no answer is known already
    isinstance("", collections.abc.Mapping)
    abc._abc_init(made)
    return made

def imports():
    for name in "service.app", "service.datasets", "workers.planning", "workers.on_ray.cluster":
        importlib.import_module(name)

def run(server, sockets):
    abc.ABCMeta.__new__ = made_slowly
    thread = threading.Thread(target=imports)
    thread.start()
    thread.join()
    server.started = True
    print(isinstance("", collections.abc.Mapping))

main.Server.run = run
main.serve(Settings(data_dir=Path(sys.argv[1]), port=0))
"""


def test_whatever_threads_import_at_once_no_text_becomes_a_mapping(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTS, str(tmp_path / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
