"""scikit-learn's estimators of a multi-layer perceptron, trained on the service.

They take all of scikit-learn's own parameters, with its own meaning and defaults, as far as the service has them. What
it has not is refused by `fit`, or left out:

- `solver="lbfgs"` with `max_fun`, of `"sgd"` `learning_rate="invscaling"` with `power_t`, or `"adaptive"`, and
  `loss="poisson"`;
- the weights of the last epoch: those of the best one are kept, and `tol` is what an epoch must improve on the best
  before it, not on the one just before;
- `warm_start`, `partial_fit`, sparse matrices, sample weights, several labels a row;
- scikit-learn's very random numbers: equal seeds give equal models here, but not those that scikit-learn makes.

A fit uploads its rows and trains one job on them. Once it has the model, or has failed or been interrupted, it cancels
what still trains and removes both: a search of many fits leaves nothing on the service. `keep_job=True` lets them stay.
"""

import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import groupby
from numbers import Integral
from operator import itemgetter
from typing import Any, Self

from chainrule.client import Client
from chainrule.errors import ChainruleError, Conflict, NotFound
from chainrule.records import Event
from chainrule.training import Source

try:
    import numpy as np
    import numpy.typing as npt
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ModuleNotFoundError as error:
    raise ChainruleError("the estimators need scikit-learn: pip install scikit-learn") from error

from chainrule.model import Model, forward, probabilities

__all__ = ["MLPClassifier", "MLPRegressor"]

Array = npt.NDArray[Any]
ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
MAX_SEED = 2**31 - 1
LABEL = "scikit-learn"
"""The label of a fit's job; its value is the name of the fit's data set, which begins with this too."""
STOPPED = "stopped early"
"""What the history of a job says that early stopping has ended."""
CANCELLED_WITHIN_S = 30.0  # a job ends at its next step


class TrainingFailed(ChainruleError):
    """The job ended without a model; the message says why."""


class _Perceptron(BaseEstimator):  # type: ignore[misc]
    """What the two have in common."""

    _task: str
    _monitored: str
    """What early stopping watches."""
    _loss_factor = 1.0
    """scikit-learn's loss over the service's."""

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15_000,
        workers: int = 1,
        keep_job: bool = False,
        client: Client | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.workers = workers
        self.keep_job = keep_job
        self.client = client

    # ------------------------------------------------------------ fitting
    def _train(self, x: Array, y: Array) -> None:
        """Trains on x (rows × features) and y (rows,) or (rows, outputs); sets what `fit` learns."""
        columns = {"x": x} | {f"y{number}": values for number, values in enumerate(np.atleast_2d(y.T))}
        targets = [name for name in columns if name != "x"]
        spec = self._spec(x, len(targets))
        with (
            Client() if self.client is None else nullcontext(self.client) as client,
            self._dataset(client, columns) as name,
        ):
            target = targets if len(targets) > 1 else targets[0]
            job_id = client.train(name, target=target, labels={LABEL: name}, **spec).id
            if self.verbose:
                self._tell(client.events(job_id))
            job = client.wait(job_id)
            if job.state != "succeeded":
                hint = "" if self.keep_job else "; with keep_job=True the job stays, to be looked into"
                raise TrainingFailed(f"{job.id} {job.state}: {job.reason}{hint}")
            self._learn(job.model(), client.metrics(job.id))
            self.job_id_ = job.id if self.keep_job else None
            if self.n_iter_ == self.max_iter and STOPPED not in client.history(job.id)[-1].why:
                what = f"max_iter, {self.max_iter} epochs, came before it stopped by itself"
                warnings.warn(what, ConvergenceWarning, stacklevel=3)

    def _tell(self, events: Iterable[Event]) -> None:
        """Prints how each epoch went, in scikit-learn's words."""
        metrics = (event.data for event in events if event.type == "metrics")
        for epoch, measured in groupby(metrics, itemgetter("epoch")):
            *_, last = measured  # a long epoch is measured several times
            print(f"Iteration {epoch}, loss = {self._loss_factor * last['train_loss']:.8f}", flush=True)
            if self.early_stopping:
                print(f"Validation score: {last.get(f'validation_{self._monitored}', np.nan):f}", flush=True)

    @contextmanager
    def _dataset(self, client: Client, columns: dict[str, Any]) -> Iterator[str]:
        """The name of a data set of this fit alone, uploaded; afterwards no job trains on it, and it is removed.

        Of its own, as other fits on the same rows, also in other processes, must not lose theirs.
        """
        name = f"{LABEL}-{uuid.uuid4().hex}"
        try:
            with Source.of(columns).file() as path:
                client.add_dataset(path, name)
            yield name
        finally:
            try:
                self._leave(client, name)
            except ChainruleError as error:
                warnings.warn(f"the data set {name} or its job may be left on the service: {error}", stacklevel=5)

    def _leave(self, client: Client, name: str) -> None:
        """Ends the job of a fit, which is found by its label: an interrupt may have come before its id was known."""
        for job in client.jobs(label=f"{LABEL}={name}"):
            with suppress(NotFound):  # somebody has deleted it
                if not job.is_over:
                    with suppress(Conflict):  # it ended just now
                        job.cancel()
                    client.wait(job.id, CANCELLED_WITHIN_S)
                if not self.keep_job:
                    job.delete()
        if not self.keep_job:
            with suppress(NotFound):  # the upload did not get so far
                client.delete_dataset(name)

    def _spec(self, x: Array, targets: int) -> dict[str, Any]:
        batch_size = min(200 if self.batch_size == "auto" else int(self.batch_size), len(x))
        sizes = [self.hidden_layer_sizes] if isinstance(self.hidden_layer_sizes, Integral) else self.hidden_layer_sizes
        activation = _one_of("activation", self.activation, ACTIVATIONS)
        if self.solver == "sgd":  # Adam has no use for it
            _one_of("learning_rate", self.learning_rate, {"constant": None})
        _one_of("warm_start", self.warm_start, {False: None})
        scale = self._loss_scale(targets)
        spec = {
            "name": f"scikit-learn {type(self).__name__}",
            "task": self._task,
            "layers": [{"type": "dense", "units": int(units), "activation": activation} for units in sizes],
            "optimizer": self._optimizer(scale),
            "l2": scale * self.alpha / batch_size,  # scikit-learn divides the penalty by the rows of a batch too
            "batch_size": batch_size,
            "epochs": int(self.max_iter),
            "shuffle": bool(self.shuffle),
            "seed": int(check_random_state(self.random_state).randint(MAX_SEED)),
            "workers": self.workers,
            "dtype": "float32" if x.dtype == np.float32 else "float64",
            "preprocessing": {"standardize": False},
        }
        # scikit-learn goes on for one epoch more than that without improvement
        stopping = {"metric": self._monitored, "patience": self.n_iter_no_change + 1, "min_delta": max(self.tol, 0.0)}
        if not self.early_stopping:
            return spec | {
                "early_stopping": stopping | {"metric": "train_loss", "min_delta": scale * max(self.tol, 0.0)}
            }
        return spec | {"validation": {"fraction": self.validation_fraction}, "early_stopping": stopping}

    def _optimizer(self, scale: float) -> dict[str, Any]:
        if _one_of("solver", self.solver, {"adam": True, "sgd": False}):
            return {
                "type": "adam",
                "learning_rate": self.learning_rate_init,
                "beta1": self.beta_1,
                "beta2": self.beta_2,
                "epsilon": self.epsilon,
            }
        return {
            "type": "sgd",
            "learning_rate": self.learning_rate_init / scale,
            "momentum": self.momentum,
            "nesterov": self.nesterovs_momentum and self.momentum > 0,
        }

    def _loss_scale(self, targets: int) -> float:
        """The service's loss over that whose gradient scikit-learn descends."""
        return 1.0

    def _learn(self, model: Model, metrics: list[dict[str, Any]]) -> None:
        """Takes over the parameters, and how the training went."""
        self.coefs_ = list(model.weights)
        self.intercepts_ = list(model.biases)
        self.n_layers_ = len(self.coefs_) + 1
        self.n_outputs_ = self.intercepts_[-1].shape[0]
        self.n_iter_ = metrics[-1]["epoch"]
        by_epoch = {metric["epoch"]: metric for metric in metrics}.values()  # the last of an epoch that has several
        self.loss_curve_ = [self._loss_factor * metric["train_loss"] for metric in by_epoch]
        self.loss_ = self.loss_curve_[-1]
        self.best_loss_ = None if self.early_stopping else min(self.loss_curve_)
        score = f"validation_{self._monitored}"
        # without one where R² means nothing, as the target is constant on the validation rows
        self.validation_scores_ = [metric.get(score, np.nan) for metric in by_epoch] if self.early_stopping else None
        self.best_validation_score_ = np.fmax.reduce(self.validation_scores_) if self.validation_scores_ else None

    # ------------------------------------------------------------ predicting
    def _outputs(self, X: Any) -> Array:
        """The raw outputs (rows × outputs), computed here."""
        check_is_fitted(self)
        dtype = self.coefs_[0].dtype
        x = validate_data(self, X, dtype=dtype, reset=False)
        hidden = [ACTIVATIONS[self.activation]] * (self.n_layers_ - 2)
        return forward(x, self.coefs_, self.intercepts_, hidden)


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that tells classes apart, as scikit-learn's; this module says what differs.

    Further parameters: `workers`, the most CPUs to train on, which never changes the result; `keep_job`, whether the
    job, whose id `job_id_` is then, and its data set stay on the service; `client`, the service to train on, by default
    as `Client()` finds it. `predict` computes here. A pickle of it holds the model and the service's URL.
    Raises what `Client` raises, and TrainingFailed for a job without a model. Ctrl-C cancels the job.
    """

    _task = "classification"
    _monitored = "accuracy"

    def fit(self, X: Any, y: Any) -> Self:
        """Trains on X (rows × features), numbers without missing ones, and y (rows,), the classes."""
        x, y = validate_data(self, X, y, dtype=(np.float64, np.float32), y_numeric=False)
        check_classification_targets(y)
        if type_of_target(y) not in ("binary", "multiclass"):
            raise ValueError(f"got y of type {type_of_target(y)}, expected one class a row")
        encoder = LabelEncoder().fit(y)
        if len(encoder.classes_) < 2:
            raise ValueError(f"got y of one class, {encoder.classes_[0]!r}, expected at least two classes")
        self.classes_ = encoder.classes_
        self._train(x, encoder.transform(y).astype(np.int64))
        self.out_activation_ = "logistic" if self.n_outputs_ == 1 else "softmax"
        return self

    def predict(self, X: Any) -> Array:
        """The class of each row."""
        best = self.predict_proba(X).argmax(axis=1)  # says first whether it was fitted
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> Array:
        """rows × classes: how probable each class is."""
        return probabilities(self._outputs(X))

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        return np.asarray(np.log(self.predict_proba(X)))


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """A multi-layer perceptron that predicts numbers, as scikit-learn's; this module says what differs.

    Further parameters: `workers`, the most CPUs to train on, which never changes the result; `keep_job`, whether the
    job, whose id `job_id_` is then, and its data set stay on the service; `client`, the service to train on, by default
    as `Client()` finds it. `predict` computes here. A pickle of it holds the model and the service's URL.
    Raises what `Client` raises, and TrainingFailed for a job without a model. Ctrl-C cancels the job.
    """

    _task = "regression"
    _monitored = "r2"
    _loss_factor = 0.5  # of the squared error

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15_000,
        workers: int = 1,
        keep_job: bool = False,
        client: Client | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            workers=workers,
            keep_job=keep_job,
            client=client,
        )
        self.loss = loss

    def fit(self, X: Any, y: Any) -> Self:
        """Trains on X (rows × features) and y (rows,) or (rows, outputs), numbers without missing ones."""
        x, y = validate_data(self, X, y, dtype=(np.float64, np.float32), multi_output=True, y_numeric=True)
        _one_of("loss", self.loss, {"squared_error": None})
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._is_flat = y.ndim == 1
        self._train(x, y.astype(np.float64))
        self.out_activation_ = "identity"
        return self

    def _loss_scale(self, targets: int) -> float:
        return 2 / targets  # the mean of e² over the outputs, over the sum of e²/2

    def predict(self, X: Any) -> Array:
        """(rows,) or (rows, outputs), as y was; (rows,) also where y had one column."""
        outputs = self._outputs(X)
        return outputs.ravel() if self._is_flat else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _one_of(name: str, got: Any, choices: dict[Any, Any]) -> Any:
    """What `got` stands for. Raises ValueError naming the parameter."""
    if got not in choices:
        raise ValueError(f"{name}: got {got!r}, expected {' or '.join(map(repr, choices))}")
    return choices[got]
