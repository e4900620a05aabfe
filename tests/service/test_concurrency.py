"""A tenant has a few things computed at once, and leaves the others what they need."""

import asyncio
import json
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from service import intake
from service.app import create_app
from service.concurrency import ConcurrencyLimit
from service.credentials import NewKeyRow
from service.json_body import SMALL_BYTES
from service.keys import Scope
from service.routes.parameters import turn_of
from service.settings import Settings
from shared.errors import TooManyRequests
from support.clusters import ScriptedCluster
from support.service_in_process import SPEC, Service


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


def test_where_any_number_may_wait_all_get_their_turn_in_order() -> None:
    async def script() -> tuple[int, list[int]]:
        limit, told, here, most = ConcurrencyLimit(at_once=2, may_wait=None), [], 0, 0

        async def one(number: int) -> None:
            nonlocal here, most
            async with limit.of("risk"):
                here += 1
                most = max(most, here)
                await asyncio.sleep(0)
                here -= 1
                told.append(number)

        await asyncio.gather(*map(one, range(2_000)))
        return most, told

    assert asyncio.run(script()) == (2, list(range(2_000)))


def test_what_computes_for_long_takes_turns() -> None:
    routes = [context.original_route for context in iter_route_contexts(create_app(Settings(), ScriptedCluster).routes)]
    paths = {
        route.path
        for route in routes
        if isinstance(route, APIRoute) and turn_of in [each.call for each in route.dependant.dependencies]
    }
    job, dataset = "/v1/jobs/{job_id}", "/v1/datasets/{dataset}"
    of_jobs = {f"{job}/{what}" for what in ("predict", "evaluation", "metrics", "history", "logs")}
    assert paths == of_jobs | {f"{dataset}/preview", f"{dataset}/histograms"}


@pytest.fixture
def without_turns(unchanged: Service) -> Iterator[Service]:
    usual, unchanged.control.concurrency = unchanged.control.concurrency, ConcurrencyLimit(at_once=0, may_wait=0)
    yield unchanged
    unchanged.control.concurrency = usual


JOB = "job_01K9T4Z3N7J5W8QH2M6RVYBXCD"  # that there is not


@pytest.mark.parametrize(
    "address",
    [
        *("datasets/numbers/preview", "jobs?name=a", "jobs?owner=a", "jobs?label=a"),
        *(f"jobs?parameters_sha256={'0' * 64}", f"jobs/{JOB}/history", f"jobs/{JOB}/logs"),
    ],
)
def test_where_no_turn_is_left_what_computes_for_long_or_searches_is_refused(
    without_turns: Service, address: str
) -> None:
    refused = without_turns.http.get(f"/v1/{address}")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")


def test_where_no_turn_is_left_no_plan_is_made_of_a_dry_run_but_jobs_are_taken(without_turns: Service) -> None:
    statuses = {
        dry_run: without_turns.http.post(f"/v1/jobs?dry_run={dry_run}", json={"dataset": "numbers"}).status_code
        for dry_run in ("true", "false")
    }
    assert statuses == {"true": 429, "false": 422}


def long(spec: dict[str, Any]) -> dict[str, Any]:
    """A request with a long body, which it says is short."""
    headers = {"Content-Type": "application/json", "Content-Length": "10", "Transfer-Encoding": "chunked"}
    return {"content": iter([json.dumps(spec).encode(), b" " * SMALL_BYTES]), "headers": headers}


@pytest.mark.parametrize("turns", ["quick_planning", "planning"])
def test_a_tenants_jobs_take_turns_of_their_own_to_be_planned(unchanged: Service, turns: str) -> None:
    asked = {"dataset": "numbers", "target": "nothing"}
    unchanged.http.post("/v1/jobs?dry_run=true", json=asked)  # the table is remembered from now on
    usual = getattr(unchanged.control, turns)
    setattr(unchanged.control, turns, ConcurrencyLimit(0, 0, "plans of jobs"))
    try:
        statuses = [
            unchanged.http.post("/v1/jobs", json=asked).status_code,
            unchanged.http.post("/v1/jobs", **long(asked)).status_code,
            unchanged.http.post("/v1/jobs?dry_run=true", json=asked).status_code,
        ]
    finally:
        setattr(unchanged.control, turns, usual)
    assert statuses == ([429, 422, 422] if turns == "quick_planning" else [422, 429, 422])


@pytest.mark.parametrize("most", ["QUICK_CELLS", "QUICK_COLUMNS", "QUICK_CATEGORIES", "PLANS_FOR_S"])
def test_what_may_take_long_is_planned_apart(service: Service, monkeypatch: pytest.MonkeyPatch, most: str) -> None:
    statuses = [service.http.post("/v1/jobs", json=SPEC).status_code]  # the table is remembered from now on
    service.control.planning = ConcurrencyLimit(at_once=0, may_wait=0)
    statuses.append(service.http.post("/v1/jobs", json=SPEC).status_code)
    monkeypatch.setattr(intake, most, 0 if most == "PLANS_FOR_S" else 1)  # it has 40 rows, 4 columns, 2 categories
    statuses.append(service.http.post("/v1/jobs", json=SPEC).status_code)
    service.control.planning = ConcurrencyLimit()
    statuses.append(service.http.post("/v1/jobs", json=SPEC).status_code)
    assert statuses == [202, 202, 429, 202]


@pytest.mark.parametrize("turns", ["quick_planning", "planning"])
def test_a_key_that_is_revoked_while_its_job_waits_to_be_planned_submits_nothing(service: Service, turns: str) -> None:
    credentials = service.control.credentials
    key, text = credentials.add_key(NewKeyRow("a test's", Scope.SUBMIT))
    headers = {"Authorization": f"Bearer {text}"}

    class Long(ConcurrencyLimit):
        @asynccontextmanager
        async def of(self, tenant: Hashable) -> AsyncIterator[None]:
            credentials.revoke(key.id)
            yield

    setattr(service.control, turns, Long())
    body: dict[str, Any] = {"json": SPEC} if turns == "quick_planning" else long(SPEC)
    body["headers"] = body.get("headers", {}) | headers
    answer = service.http.post("/v1/jobs", **body)
    assert answer.status_code == 401
    assert service.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(("columns", "fill"), [(400, "0"), (190, "数")], ids=["planned apart", "planned in a moment"])
def test_where_no_turn_is_left_no_job_with_a_long_plan_is_taken_but_others_are(
    service: Service, columns: int, fill: str
) -> None:
    names = [f"{number:{fill}>200}" for number in range(columns)]  # 80 kB at least, with which the spec is completed
    service.upload("wide", f"{','.join(names)},y\n{'1,' * columns}1\n{'2,' * columns}2\n".encode())
    long = {**SPEC, "dataset": "wide"}
    assert service.http.post("/v1/jobs", json=long).json()["spec"]["features"] == names
    service.control.concurrency = ConcurrencyLimit(at_once=0, may_wait=0)
    assert [service.http.post("/v1/jobs", json=spec).status_code for spec in (long, SPEC)] == [429, 202]


def test_where_no_turn_is_left_all_else_is_answered(without_turns: Service) -> None:
    found = {
        address: without_turns.http.get(f"/v1/{address}").status_code
        for address in ("datasets/numbers", "jobs", "jobs?state=queued", f"jobs/{JOB}", f"jobs/{JOB}/checkpoints")
    }
    assert [*found.values()] == [200, 200, 200, 404, 404], found


def test_with_a_turn_dry_runs_searches_and_metrics_are_answered(unchanged: Service) -> None:
    assert unchanged.http.post("/v1/jobs?dry_run=true", json=SPEC).json()["steps"] > 0
    assert unchanged.http.get("/v1/jobs?name=a").json()["items"] == []
    assert unchanged.http.get(f"/v1/jobs/{JOB}/metrics").status_code == 404
    assert not unchanged.control.concurrency._here
