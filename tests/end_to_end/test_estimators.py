"""The estimators are scikit-learn's: in its pipelines and searches, against its own networks."""

import pickle
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from chainrule import Client
from support.running_service import RunningService

sklearn = pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn import neural_network  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris  # noqa: E402
from sklearn.model_selection import GridSearchCV, train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from chainrule.sklearn import MLPClassifier, MLPRegressor, TrainingFailed  # noqa: E402

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(str(service.http.base_url), service.key) as client:
        yield client


def test_a_pipeline_is_searched_by_two_processes(
    client: Client, service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_API_KEY", service.key)  # for the other processes: a pickled client has no key
    x, y = load_iris(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), MLPClassifier(max_iter=30, client=client))
    grid = {"mlpclassifier__hidden_layer_sizes": [(4,), (20, 10)], "mlpclassifier__learning_rate_init": [0.01]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(x, y)
    assert search.best_score_ > 0.8
    assert list(search.best_estimator_[-1].feature_names_in_) == [f"{name}" for name in x.columns]
    assert left(client) == []


def left(client: Client) -> list[str]:
    """What fits have left on the service."""
    datasets = [dataset.name for dataset in client.datasets() if dataset.name.startswith("scikit-learn-")]
    return [job.id for job in client.jobs(label="scikit-learn")] + datasets


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """As Python does; a process of the suite is told to ignore it when it is not the only one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_cancels_a_fit_that_trains_and_leaves_nothing(service: RunningService) -> None:
    asked: list[str] = []

    def sleep(seconds: float) -> None:
        (job,) = client.jobs(label="scikit-learn")
        if not asked and job.progress.step:
            asked.append(job.id)
            signal.raise_signal(signal.SIGINT)
        time.sleep(seconds)

    with Client(str(service.http.base_url), service.key, sleep=sleep) as client:
        estimator = MLPRegressor(max_iter=1_000_000, n_iter_no_change=999_999, client=client)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(*load_diabetes(return_X_y=True))
        assert asked
        assert left(client) == []


def test_a_job_that_is_to_stay_can_be_looked_at(client: Client) -> None:
    fitted = MLPRegressor(max_iter=2, keep_job=True, client=client).fit(*load_diabetes(return_X_y=True))
    job = client.job(fitted.job_id_)
    np.testing.assert_array_equal(job.model().weights[0], fitted.coefs_[0])
    assert left(client) == [job.id, job.spec["dataset"]]
    job.delete()
    client.delete_dataset(job.dataset_id)


NOT_CONVERGED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # as both are meant to


@NOT_CONVERGED
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_classifier_is_as_good_as_scikit_learns(client: Client, solver: str) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(StandardScaler().fit_transform(x), y, random_state=0)
    given = {
        "hidden_layer_sizes": (30,),
        "solver": solver,
        "max_iter": 40,
        "learning_rate_init": 0.01,
        "random_state": 0,
        "n_iter_no_change": 100,
    }
    ours = MLPClassifier(**given, client=client).fit(x_train, y_train)
    theirs = neural_network.MLPClassifier(**given).fit(x_train, y_train)
    assert ours.score(x_test, y_test) >= theirs.score(x_test, y_test) - 0.03
    assert ours.loss_ == pytest.approx(theirs.loss_, abs=0.05)
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("coefs_", "intercepts_"):
        assert [one.shape for one in getattr(ours, name)] == [one.shape for one in getattr(theirs, name)]
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 40


@NOT_CONVERGED
def test_a_regressor_descends_the_loss_that_scikit_learn_descends(client: Client) -> None:
    """Without a hidden layer the problem is convex: both end at the same weights, penalty and all."""
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    given: dict[str, Any] = {"hidden_layer_sizes": (), "solver": "sgd", "alpha": 20.0, "learning_rate_init": 0.05}
    given |= {"max_iter": 400, "batch_size": len(x), "shuffle": False, "random_state": 0}
    given |= {"n_iter_no_change": 400, "tol": 0}
    ours = MLPRegressor(**given, client=client).fit(x, np.column_stack([y, -y]))
    theirs = neural_network.MLPRegressor(**given).fit(x, np.column_stack([y, -y]))
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-4)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-3)


def test_training_ends_once_the_training_loss_improves_no_more(client: Client) -> None:
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    given = {
        "hidden_layer_sizes": (),
        "solver": "sgd",
        "learning_rate_init": 0.1,
        "batch_size": len(x),
        "max_iter": 500,
        "random_state": 0,
    }
    ours = MLPRegressor(**given, client=client).fit(x, y)
    theirs = neural_network.MLPRegressor(**given).fit(x, y)
    assert theirs.n_iter_ <= ours.n_iter_ < 500, "what improves slowly is summed up here"
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, abs=1e-3)


def test_early_stopping_keeps_the_best_epoch(client: Client) -> None:
    x, y = load_iris(return_X_y=True)
    fitted = MLPClassifier(early_stopping=True, n_iter_no_change=3, random_state=1, client=client).fit(x, y)
    assert fitted.n_iter_ < 200
    assert len(fitted.validation_scores_) == fitted.n_iter_
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)


def test_a_pickle_predicts_without_a_service(client: Client) -> None:
    x, y = load_iris(return_X_y=True)
    fitted = MLPClassifier(max_iter=3, client=client).fit(x, y)
    copy = pickle.loads(pickle.dumps(fitted.set_params(client=Client("http://127.0.0.1:9"))))  # noqa: S301
    np.testing.assert_array_equal(copy.predict_proba(x), fitted.predict_proba(x))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"solver": "lbfgs"}, "solver: got 'lbfgs', expected 'adam' or 'sgd'"),
        ({"solver": "sgd", "learning_rate": "adaptive"}, "learning_rate: got 'adaptive', expected 'constant'"),
        ({"activation": "gelu"}, "activation: got 'gelu', expected 'identity' or"),
    ],
)
def test_what_the_service_has_not_is_refused(parameters: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MLPClassifier(**parameters, client=Client("http://127.0.0.1:9")).fit([[0.0], [1.0]], [0, 1])


def test_a_job_that_fails_says_why(client: Client) -> None:
    x = np.random.default_rng(0).normal(size=(100, 2)) * 1e150
    with pytest.raises(TrainingFailed, match="diverged"):
        MLPRegressor(solver="sgd", learning_rate_init=1e5, client=client).fit(x, x[:, 0])
