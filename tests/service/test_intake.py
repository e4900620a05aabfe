"""Jobs as they come in, many at once: each is planned, queued or refused as if it had come alone."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.catalog import Catalog
from service.database import DEFAULT_TENANT, Database
from service.intake import Asked, Intake
from service.keys import Principal, Scope
from service.store import Store
from service.submission import NewJob
from service.tenants import Tenants
from shared.errors import InvalidInput, TooManyRequests, Unauthorized
from support.jobs import new_job
from support.service_in_process import SPEC, Service

WHO = Principal(DEFAULT_TENANT, Scope.SUBMIT, "key_1", "a test's")
WITHIN_S = 20.0


def asked(key: str | None = None, refused: TooManyRequests | None = None, **changes: Any) -> Asked:
    return Asked(WHO, {**SPEC, **changes}, lambda: WHO, key, refused)


class Counted(Store):
    """A store that keeps how many jobs it was given at once, and waits until the first time is let go."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[int] = []
        self.began, self.may_end = threading.Event(), threading.Event()

    def add_all(self, batch: Sequence[NewJob]) -> Any:
        self.batches.append(len(batch))
        self.began.set()
        assert self.may_end.wait(WITHIN_S)
        return super().add_all(batch)


@pytest.fixture
def counted(service: Service) -> Counted:
    return Counted(service.control.store._database)


@pytest.fixture
def counting(service: Service, counted: Counted) -> Intake:
    service.control.catalog.tables_of(DEFAULT_TENANT, SPEC["dataset"])  # which is remembered from now on
    return Intake(counted, service.control.catalog, service.control.tenants)


def together(counted: Counted, *submits: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What comes of all of these, of which all but the first come while that is being committed."""

    async def come() -> list[Any]:
        tasks = [asyncio.ensure_future(submits[0]())]
        assert await asyncio.to_thread(counted.began.wait, WITHIN_S)
        tasks += [asyncio.ensure_future(submit()) for submit in submits[1:]]
        await asyncio.sleep(0)  # each runs until it waits
        counted.may_end.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(come())


def test_those_that_come_together_are_committed_together_and_each_is_told_its_own(
    counted: Counted, counting: Intake
) -> None:
    wrong, revoked = asked(target="nothing"), Asked(WHO, SPEC, refuse)
    each = [asked(name="first"), asked(name="a"), wrong, asked(name="b"), revoked, asked("key", name="c")]
    submits = [partial(counting.submit_if_quick, one) for one in each]
    first, a, mistake, b, refused, c = together(counted, *submits)
    made = [(job.name, is_new) for job, is_new in (first, a, b, c)]
    assert made == [("first", True), ("a", True), ("b", True), ("c", True)]
    assert isinstance(mistake, InvalidInput)
    assert mistake.errors[0].field == "target"
    assert isinstance(refused, Unauthorized)
    assert counted.batches == [1, 3]


def refuse() -> Principal:
    raise Unauthorized("the key was revoked")


def test_what_a_key_has_made_before_is_told_also_to_who_came_too_fast(counted: Counted, counting: Intake) -> None:
    counted.may_end.set()
    too_fast = TooManyRequests("too fast", 1)

    async def come() -> list[Any]:
        made, _ = await counting.submit_if_quick(asked("key"))  # type: ignore[misc]
        again = [asked("key"), asked("key", too_fast), asked("key", too_fast, epochs=3), asked("other", too_fast)]
        told = [await asyncio.gather(counting.submit_if_quick(one), return_exceptions=True) for one in again]
        assert [(job.id, is_new) for [(job, is_new)] in told[:2]] == [(made.id, False)] * 2  # type: ignore[misc]
        return [outcome for [outcome] in told[2:]]

    assert asyncio.run(come()) == [too_fast, too_fast]
    assert sum(counted.batches) == 1


def test_a_database_that_is_away_fails_only_those_that_were_to_be_written(counted: Counted, counting: Intake) -> None:
    def away(_: Sequence[NewJob]) -> Any:
        raise OperationalError("INSERT", None, OSError("the server is gone"))

    counted.add_all = away  # type: ignore[method-assign]

    async def come() -> list[Any]:
        both = counting.submit_if_quick(asked()), counting.submit_if_quick(asked(target="nothing"))
        return await asyncio.gather(*both, return_exceptions=True)

    assert [type(error) for error in asyncio.run(come())] == [OperationalError, InvalidInput]


def test_a_database_that_does_not_answer_one_is_not_asked_for_the_others(counted: Counted, counting: Intake) -> None:
    asks = []

    def away() -> Principal:
        asks.append(1)
        raise OperationalError("SELECT", None, OSError("the server does not answer"))

    each = [asked(), *[Asked(WHO, SPEC, away)] * 3, asked()]
    made, *failed = together(counted, *[partial(counting.submit_if_quick, one) for one in each])
    assert made[1]
    assert [type(error) for error in failed] == [OperationalError] * 4
    assert len(asks) == 1


def test_a_data_set_whose_table_is_not_remembered_is_planned_apart(service: Service) -> None:
    control = service.control
    catalog = Catalog(control.store._database, control.folder.datasets)  # of one of several control planes
    fresh = Intake(control.store, catalog, control.tenants)
    assert asyncio.run(fresh.submit_if_quick(asked())) is None
    planned = fresh.planned(asked())
    assert isinstance(planned, NewJob)
    told = asyncio.run(fresh.submit_if_quick(asked()))
    assert isinstance(told, tuple)
    assert told[1]


def test_initial_parameters_are_checked_apart(counted: Counted, counting: Intake) -> None:
    counted.may_end.set()
    spec = {"layers": [], "initial_parameters": {"weights": [[[0.0]]], "biases": [[0.0]]}}
    assert asyncio.run(counting.submit_if_quick(asked(**spec))) is None


def test_jobs_with_long_plans_that_come_together_are_not_all_committed_together(
    database: Database, catalog: Catalog
) -> None:
    counted = Counted(database)
    intake = Intake(counted, catalog, Tenants(database))
    features = [f"{number:0200}" for number in range(10_000)]  # 2 MB
    told = together(counted, *[partial(intake.submit, new_job(features=features)) for _ in range(6)])
    assert [is_new for _, is_new in told] == [True] * 6
    assert counted.batches == [1, 2, 2, 1]
