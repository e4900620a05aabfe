"""The synchronous client is the asynchronous one without its waits, and both do the same."""

import asyncio
import pickle
import runpy
from copy import deepcopy
from pathlib import Path

import pytest

from chainrule import AsyncClient, Client
from support.fake_service import FakeService, event

SYNC = runpy.run_path(str(Path(__file__).resolve().parents[2] / "client" / "sync.py"))


@pytest.mark.parametrize("file", SYNC["FILES"])
def test_the_synchronous_client_is_written_from_the_asynchronous_one(file: str) -> None:
    source = (SYNC["PACKAGE"] / "aio" / file).read_text(encoding="utf-8")
    written = (SYNC["PACKAGE"] / file).read_text(encoding="utf-8")
    assert written == SYNC["synchronous"](source, file), "run `make sync`"


def test_a_job_is_submitted_followed_and_downloaded_without_blocking(service: FakeService, tmp_path: Path) -> None:
    service.end = "succeeded"
    service.streams = [[event(1, "state", {"state": "succeeded"})]]
    path = tmp_path / "people.csv"
    path.write_text("age,income\n39,1\n")

    async def train() -> None:
        async with AsyncClient("http://service", transport=service.async_transport()) as client:
            job = await client.train(path, target="income", layers=[8])
            assert [one.type async for one in job.events()] == ["state"]
            assert (await job.wait(progress=False)).state == "succeeded"
            assert await job.download_model(tmp_path / "model") == tmp_path / "model"
            assert [one.value for one in await job.predict([{"age": 50}])] == [">50K"]

    asyncio.run(train())


def test_a_copy_of_a_client_speaks_to_the_same_service(client: Client) -> None:
    with pickle.loads(pickle.dumps(client)) as copy:  # noqa: S301
        assert copy.url == "http://service"
    assert deepcopy(client) is client
    assert repr(client) == "Client('http://service')"
