"""A tenant has a few things computed at once, and leaves the others what they need."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from service.app import create_app
from service.concurrency import ConcurrencyLimit
from service.routes.parameters import turn_of
from service.settings import Settings
from shared.errors import TooManyRequests
from support.clusters import ScriptedCluster
from support.service_in_process import Service


def test_few_of_a_tenant_are_computed_at_once_the_next_wait_and_more_are_refused() -> None:
    async def script() -> list[str]:
        limit, told = ConcurrencyLimit(at_once=2, may_wait=1), []

        async def next_one() -> None:
            async with limit.of("risk"):
                told.append("third")

        async with AsyncExitStack() as both:
            for _ in range(2):
                await both.enter_async_context(limit.of("risk"))
            waiting = asyncio.create_task(next_one())
            await asyncio.sleep(0)
            with pytest.raises(TooManyRequests, match="1 requests of the tenant wait already"):
                await both.enter_async_context(limit.of("risk"))
            async with limit.of("other"):
                told.append("other")
            told.append("both are done")
        await waiting
        assert not limit._semaphores and not limit._here, "who asks for nothing is not remembered"
        return told

    assert asyncio.run(script()) == ["other", "both are done", "third"]


def test_what_computes_for_long_takes_turns() -> None:
    routes = [context.original_route for context in iter_route_contexts(create_app(Settings(), ScriptedCluster).routes)]
    paths = {
        route.path
        for route in routes
        if isinstance(route, APIRoute) and turn_of in [each.call for each in route.dependant.dependencies]
    }
    job, dataset = "/v1/jobs/{job_id}", "/v1/datasets/{dataset}"
    assert paths == {f"{job}/predict", f"{job}/evaluation", f"{dataset}/preview", f"{dataset}/histograms"}


def test_where_no_turn_is_left_all_else_is_answered(unchanged: Service) -> None:
    usual, unchanged.control.concurrency = unchanged.control.concurrency, ConcurrencyLimit(at_once=0, may_wait=0)
    try:
        refused = unchanged.http.get("/v1/datasets/numbers/preview")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert unchanged.http.get("/v1/datasets/numbers").status_code == 200
    finally:
        unchanged.control.concurrency = usual
    assert unchanged.http.get("/v1/datasets/numbers/preview").status_code == 200
