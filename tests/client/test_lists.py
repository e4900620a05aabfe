"""Lists come in pages, and nobody who goes through one needs to know."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from chainrule import AsyncClient, Client, Unreachable
from support.fake_service import FakeService

NEWEST_FIRST = [f"job_{number:02}" for number in range(7, 0, -1)]


@pytest.fixture
def seven(service: FakeService) -> FakeService:
    """Seven jobs, of which a page holds three."""
    service.page = 3
    for _ in range(7):
        service.add_job({})
    return service


def asked(service: FakeService) -> list[tuple[str | None, str | None]]:
    """Limit and cursor of each request."""
    return [(one.url.params.get("limit"), one.url.params.get("cursor")) for one in service.requests]


def test_going_through_a_list_goes_through_all_its_pages(seven: FakeService, client: Client) -> None:
    assert [job.id for job in client.jobs(state="queued")] == NEWEST_FIRST
    assert asked(seven) == [(None, None), ("500", "3"), ("500", "6")], "who wants more than a page wants all"
    assert {request.url.params["state"] for request in seven.requests} == {"queued"}


def test_a_page_is_asked_for_when_it_is_reached(seven: FakeService, client: Client) -> None:
    jobs = client.jobs()
    assert ([job.id for job in jobs.items], jobs.next_cursor) == (NEWEST_FIRST[:3], "3")
    assert [job.id for job in islice(jobs, 3)] == NEWEST_FIRST[:3]
    assert len(seven.requests) == 1
    assert [job.id for job in islice(jobs, 4)] == NEWEST_FIRST[:4]
    assert len(seven.requests) == 2
    assert [len(page.items) for page in jobs.pages()] == [3, 3, 1]


@pytest.mark.parametrize("limit", [1, 3, 4, 6, 7, 1_000])
def test_a_limit_bounds_the_whole_list(seven: FakeService, client: Client, limit: int) -> None:
    *_, last = client.jobs(limit=limit).pages()
    assert last.next_cursor == (str(limit) if limit < 7 else None)
    seven.requests.clear()
    assert [job.id for job in client.jobs(limit=limit)] == NEWEST_FIRST[:limit]
    assert asked(seven)[0] == (str(min(limit, 500)), None)
    assert len(seven.requests) == -(-min(limit, 7) // 3)


def test_a_list_goes_on_after_a_cursor(seven: FakeService, client: Client) -> None:
    cursor = client.jobs(limit=2).next_cursor
    assert [job.id for job in client.jobs(cursor=cursor)] == NEWEST_FIRST[2:]


def test_a_line_that_breaks_between_two_pages_is_no_matter(seven: FakeService, client: Client) -> None:
    jobs = iter(client.jobs())
    first = [next(jobs) for _ in range(3)]
    seven.answers = [httpx.ReadError("reset")]
    assert [job.id for job in (*first, *jobs)] == NEWEST_FIRST


def test_a_service_that_is_gone_is_told_where_it_is_missed(seven: FakeService, client: Client) -> None:
    jobs = iter(client.jobs())
    first = [next(jobs) for _ in range(3)]
    seven.answers = [httpx.ConnectError("refused")]
    with pytest.raises(Unreachable):
        next(jobs)
    assert len(first) == 3


def lists(client: Client) -> Iterator[Callable[..., Any]]:
    yield client.jobs
    yield client.datasets
    yield client.keys
    yield client.tenants
    yield client.webhooks.list
    yield lambda **options: client.webhooks.deliveries("wh_00", **options)


def test_every_list_is_whole_and_heeds_its_limit(seven: FakeService, client: Client) -> None:
    for number in range(7):
        seven.datasets[f"{number}"] = {"id": f"ds_{number}", "created_at": "2026-11-23T10:00:00Z", "columns": []}
        client.add_key(f"{number}")
        client.webhooks.create("https://example.com")
        seven.quotas[f"{number}"] = seven.quotas["default"]
        seven.add_delivery()
    del seven.quotas["default"]
    for listed in lists(client):
        assert len(list(listed())) == 7
        assert len(list(listed(limit=5))) == 5


def test_an_asynchronous_list_is_gone_through_in_the_same_way(seven: FakeService) -> None:
    async def ids() -> tuple[list[str], list[str]]:
        async with AsyncClient("http://service", transport=seven.async_transport()) as client:
            every = [job.id async for job in await client.jobs()]
            return every, [job.id async for job in await client.jobs(limit=4)]

    assert asyncio.run(ids()) == (NEWEST_FIRST, NEWEST_FIRST[:4])
    assert asked(seven)[-2:] == [("4", None), ("1", "3")]
