"""A fit leaves nothing on the service, however it ends; what the estimators learn is tested end to end."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from chainrule import Client
from support.fake_service import FakeService, event, problem

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

from chainrule.sklearn import MLPClassifier, MLPRegressor, TrainingFailed

X = np.arange(8.0, dtype=np.float32).reshape(-1, 1)
Handle = Callable[[httpx.Request], httpx.Response]


def fit(
    service: FakeService,
    handle: Handle | None = None,
    *,
    ends: str = "succeeded",
    y: Any = X[:, 0],
    **parameters: Any,
) -> Any:
    """Fits on the service, whose jobs end in the state `ends` when somebody has waited for them; `interrupted` instead
    of a state is Ctrl-C while it is waited for."""

    def sleep(_: float) -> None:
        if ends == "interrupted":
            raise KeyboardInterrupt
        for job in service.jobs.values():
            job |= {"state": ends, "reason": "diverged" if ends == "failed" else None}

    transport = httpx.MockTransport(handle or service.handle)
    with Client("http://service", transport=transport, sleep=sleep) as client:
        return MLPRegressor(hidden_layer_sizes=(), client=client, **parameters).fit(X, y)


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
    assert [request.method for request in service.requests] == ["POST", "GET", "GET", "DELETE"]
    assert service.datasets == {}


def test_a_job_that_somebody_deleted_keeps_no_data_set(service: FakeService) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE" and "/jobs/" in request.url.path:
            service.jobs.clear()
        return service.handle(request)

    fit(service, handle)
    assert (service.jobs, service.datasets) == ({}, {})


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


@pytest.mark.parametrize("ours", [MLPClassifier, MLPRegressor])
def test_every_parameter_of_scikit_learns_is_there_in_its_place_with_its_default(ours: type[Any]) -> None:
    theirs = inspect.signature(getattr(neural_network, ours.__name__)).parameters
    taken = inspect.signature(ours).parameters
    assert [(name, taken[name].default, taken[name].kind) for name in taken if name in theirs] == [
        (name, theirs[name].default, theirs[name].kind) for name in theirs
    ]
    values = {name: object() for name in theirs}
    assert {name: value for name, value in ours(**values).get_params().items() if name in theirs} == values


def test_a_verbose_fit_prints_each_epoch_once_as_scikit_learn_does(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.streams = [
        [
            event(1, "state", {"state": "running"}),
            event(2, "metrics", {"epoch": 1, "step": 3, "train_loss": 0.9}),
            event(3, "progress", {"fraction": 0.5}),
            event(4, "metrics", {"epoch": 1, "step": 5, "train_loss": 0.5, "validation_r2": 0.25}),
            event(5, "metrics", {"epoch": 2, "step": 10, "train_loss": 0.125, "validation_r2": 0.5}),
            event(6, "state", {"state": "succeeded"}),
        ]
    ]
    service.end = "succeeded"

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/metrics"):
            measured = {"step": 10, "epoch": 2, "train_loss": 0.125, "validation_r2": 0.5}
            return httpx.Response(200, json={"items": [measured], "next_cursor": None})
        return service.handle(request)

    fit(service, handle, verbose=True, early_stopping=True)
    assert capsys.readouterr().out.splitlines() == [
        "Iteration 1, loss = 0.25000000",
        "Validation score: 0.250000",
        "Iteration 2, loss = 0.06250000",
        "Validation score: 0.500000",
    ]


def test_epochs_whose_score_means_nothing_have_none(service: FakeService) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/metrics"):
            items = [{"step": 1, "epoch": 1, "train_loss": 0.5}, {"step": 2, "epoch": 2, "train_loss": 0.25}]
            items[1]["validation_r2"] = 0.5
            return httpx.Response(200, json={"items": items, "next_cursor": None})
        return service.handle(request)

    fitted = fit(service, handle, early_stopping=True)
    np.testing.assert_array_equal(fitted.validation_scores_, [np.nan, 0.5])
    assert fitted.best_validation_score_ == 0.5


def test_a_fit_that_uses_all_its_epochs_warns(service: FakeService) -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter, 12 epochs"):
        fit(service, max_iter=12)


def test_a_fit_that_stops_by_itself_in_its_last_epoch_does_not_warn(service: FakeService) -> None:
    service.why = "trained; stopped early after epoch 12: train_loss has not improved for 11 epochs"
    assert fit(service, max_iter=12).n_iter_ == 12


def test_a_target_of_one_column_is_flattened_with_a_warning_as_scikit_learn_does(service: FakeService) -> None:
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        fitted = fit(service, y=X)
    assert fitted.predict(X).shape == (len(X),)


def test_a_fit_that_is_not_verbose_prints_nothing(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    fit(service)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"loss": "poisson"}, "loss: got 'poisson', expected 'squared_error'"),
        ({"warm_start": True}, "warm_start: got True, expected False"),
    ],
)
def test_what_the_service_has_not_is_refused_before_anything_is_sent(
    service: FakeService, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        fit(service, **parameters)
    assert service.requests == []


def test_parameters_of_what_the_service_has_not_change_nothing(service: FakeService) -> None:
    fit(service, random_state=0, keep_job=True)
    fit(service, random_state=0, keep_job=True, power_t=0.1, max_fun=1)
    one, other = (job["spec"] | {"dataset": "", "labels": {}} for job in service.jobs.values())
    assert one == other
