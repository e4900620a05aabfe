"""A fit leaves nothing on the service, however it ends; what the estimators learn is tested end to end."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from chainrule import Client
from support.fake_service import FakeService, problem

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from chainrule.sklearn import MLPRegressor, TrainingFailed

X = np.arange(8.0, dtype=np.float32).reshape(-1, 1)
Handle = Callable[[httpx.Request], httpx.Response]


def fit(service: FakeService, handle: Handle | None = None, *, ends: str = "succeeded", **parameters: Any) -> Any:
    """Fits on the service, whose jobs end in the state `ends` when somebody has waited for them; `interrupted` instead
    of a state is Ctrl-C while it is waited for."""

    def sleep(_: float) -> None:
        if ends == "interrupted":
            raise KeyboardInterrupt
        for job in service.jobs.values():
            job |= {"state": ends, "reason": "diverged" if ends == "failed" else None}

    transport = httpx.MockTransport(handle or service.handle)
    with Client("http://service", transport=transport, sleep=sleep) as client:
        return MLPRegressor(hidden_layer_sizes=(), client=client, **parameters).fit(X, X[:, 0])


def submitted(service: FakeService) -> bool:
    return any((one.method, one.url.path) == ("POST", "/v1/jobs") for one in service.requests)


def test_a_fit_leaves_nothing_on_the_service(service: FakeService) -> None:
    service.add_job({"name": "somebody else's"}, "running")
    service.datasets["another"] = {"id": "ds_another", "name": "another"}
    fitted = fit(service)
    np.testing.assert_array_equal(fitted.predict(X), X[:, 0])
    assert submitted(service)
    assert (list(service.jobs), list(service.datasets), fitted.job_id_) == (["job_01"], ["another"], None)


def test_what_is_to_stay_stays(service: FakeService) -> None:
    fitted = fit(service, keep_job=True)
    assert list(service.jobs) == [fitted.job_id_]
    assert service.jobs[fitted.job_id_]["spec"]["dataset"] in service.datasets


def test_each_fit_has_a_data_set_of_its_own(service: FakeService) -> None:
    for _ in range(2):
        fit(service, keep_job=True)
    assert len(service.datasets) == 2


def test_a_fit_that_fails_says_why_and_leaves_nothing(service: FakeService) -> None:
    with pytest.raises(TrainingFailed, match="job_01 failed: diverged; with keep_job=True the job stays"):
        fit(service, ends="failed")
    assert (service.jobs, service.datasets) == ({}, {})


def test_a_fit_that_is_refused_leaves_no_data_set(service: FakeService) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) == ("POST", "/v1/jobs"):
            return problem(429, "Too Many Requests", "the queue is full")
        return service.handle(request)

    with pytest.raises(Exception, match="the queue is full"):
        fit(service, handle)
    assert [request.method for request in service.requests] == ["POST", "GET", "DELETE"]
    assert service.datasets == {}


@pytest.mark.parametrize("keep", [False, True])
def test_an_interrupt_cancels_the_job(service: FakeService, keep: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(service, ends="interrupted", keep_job=keep)
    assert any(request.url.path.endswith("/cancel") for request in service.requests)
    assert [job["state"] for job in service.jobs.values()] == (["cancelled"] if keep else [])
    assert len(service.datasets) == keep


def test_an_interrupt_before_the_job_is_known_cancels_it_too(service: FakeService) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        answer = service.handle(request)
        if (request.method, request.url.path) == ("POST", "/v1/jobs"):
            raise KeyboardInterrupt
        return answer

    with pytest.raises(KeyboardInterrupt):
        fit(service, handle)
    assert submitted(service)
    assert any(request.url.path.endswith("/cancel") for request in service.requests)
    assert (service.jobs, service.datasets) == ({}, {})


def test_what_could_not_be_removed_is_warned_of_and_the_model_is_there(service: FakeService) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return problem(503, "Service Unavailable", "stopping")
        return service.handle(request)

    with pytest.warns(UserWarning, match=r"scikit-learn-[0-9a-f]{32} or its job may be left .*: stopping") as told:
        fitted = fit(service, handle)
    np.testing.assert_array_equal(fitted.predict(X), X[:, 0])
    (name,) = service.datasets
    assert re.search(name, str(told[0].message))
    assert told[0].filename == __file__
