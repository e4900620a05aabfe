"""The Python client goes through the service's own lists, whole and in order."""

import asyncio

from chainrule import AsyncClient, Client
from support.service_in_process import Service


def test_a_list_is_whole_though_jobs_are_submitted_while_it_is_read(service: Service) -> None:
    submitted = [service.submit(name=f"{number}", labels={"team": "a"})["id"] for number in range(55)]
    with Client(service.url, service.key) as client:
        jobs = iter(client.jobs(label="team=a"))
        seen = [next(jobs).id for _ in range(50)]
        service.submit(labels={"team": "a"})
        assert [*seen, *(job.id for job in jobs)] == submitted[::-1]
        assert [job.id for job in client.jobs(label="team=a", limit=52)] == [
            job.id for job in client.jobs(label="team=a", limit=600).items[:52]
        ]

    async def ids() -> list[str]:
        async with AsyncClient(service.url, service.key) as client:
            return [job.id async for job in await client.jobs(label="team=a")]

    assert asyncio.run(ids())[1:] == submitted[::-1]


def test_lists_by_number_and_by_name_are_whole_too(service: Service) -> None:
    with Client(service.url, service.key) as client:
        for number in range(51):
            client.add_key(f"key {number}", ["read"], tenant=f"tenant-{number:02}")
        keys = client.keys()
        assert len({key.id for key in keys}) == 52
        assert [tenant.name for tenant in client.tenants()] == ["default", *(f"tenant-{n:02}" for n in range(51))]
