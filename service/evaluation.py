"""How good a model is on its validation rows: computed when it is first asked for, in bounded time and memory."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from service.models import Model
from service.once import MadeOnce
from service.views import View
from shared.spec import JobSpec
from shared.table import TableFile

if TYPE_CHECKING:
    import numpy as np

    from shared.evaluation import Curve
    from workers.evaluating import Evaluated

__all__ = ["Evaluation", "Evaluations", "evaluation_of"]

MOST_ROWS = 100_000
MOST_NUMBERS = 10_000_000  # of all rows' outputs together
MOST_PRODUCTS = 20_000_000_000  # parameters times rows: about a second
MOST_CLASSES = 50
MOST_SCORES = 1_000_000  # rows times classes, of which curves are made: about a second
CURVES_POINTS = 2_000  # of all classes' curves together
POINTS = 1_000
BINS = 40
KEPT = 64


class ThresholdCurve(View):
    """A curve over the thresholds of the probability of a class."""

    x: Annotated[list[float], Field(examples=[[0.0, 0.2, 1.0]])]
    """False positive rate (ROC), or recall."""
    y: Annotated[list[float], Field(examples=[[0.0, 0.9, 1.0]])]
    """True positive rate (ROC), or precision."""
    threshold: Annotated[list[float | None], Field(examples=[[None, 0.4, -3.1]])]
    """The least logit of the class, log p/(1-p), that counts as it; null where none does."""
    area: Annotated[float, Field(examples=[0.91])]
    """Area under the curve; of precision over recall, the average precision."""


class ClassEvaluation(View):
    """How one of several classes is told from all others together."""

    name: Annotated[str, Field(examples=["7"])]
    """The class."""
    rows: Annotated[int, Field(examples=[179])]
    """Rows of this class among those that the curves are made of: all that were looked at, or evenly chosen ones where
    rows times classes are more than 1,000,000."""
    of_rows: Annotated[int, Field(examples=[1797])]
    """Rows that the curves are made of."""
    roc: ThresholdCurve
    """The true positive rate over the false positive rate."""
    precision_recall: ThresholdCurve
    """The precision over the recall."""


class Residuals(View):
    """How predicted minus actual is spread."""

    edges: Annotated[list[float], Field(examples=[[-1.0, 0.0, 1.0]])]
    """Bounds of the bars, one more than there are bars, in the target's own units."""
    counts: Annotated[list[int], Field(examples=[[40, 38]])]
    """Rows in each bar."""


class TargetEvaluation(View):
    """How one target of a regression is predicted, in its own units."""

    name: Annotated[str, Field(examples=["quality"])]
    """The column."""
    actual: Annotated[list[float], Field(examples=[[6.0, 5.0]])]
    """What rows have, 1,000 at most, evenly chosen."""
    predicted: Annotated[list[float], Field(examples=[[5.8, 5.3]])]
    """What the model says of the same rows."""
    residuals: Residuals
    """Over all rows that were looked at."""


class Evaluation(View):
    """How good a model is on rows that it was not trained on; what does not apply is left out."""

    task: Literal["classification", "regression"]
    """As in the spec."""
    rows: Annotated[int, Field(examples=[3256])]
    """Validation rows that were looked at."""
    of_rows: Annotated[int, Field(examples=[3256])]
    """Validation rows that there are; where they are very many, or the network is very large, not all are looked at,
    but evenly chosen ones."""
    classes: Annotated[list[str] | None, Field(examples=[["<=50K", ">50K"]])] = None
    """The classes in the order of the network's outputs."""
    confusion: Annotated[list[list[int]] | None, Field(examples=[[[2300, 171], [320, 465]]])] = None
    """A line for each class as it is, a column for each as it is predicted: rows. Left out for more than 50 classes."""
    roc: ThresholdCurve | None = None
    """Two classes: the second's true positive rate over its false positive rate; left out where one is absent."""
    precision_recall: ThresholdCurve | None = None
    """Two classes: the second's precision over its recall; left out where one is absent."""
    by_class: list[ClassEvaluation] | None = None
    """From 3 to 50 classes: each against the rest; those are left out of which there is no row, or no other."""
    targets: list[TargetEvaluation] | None = None
    """A regression's targets."""


def evaluation_of(model: Model, spec: JobSpec, file: TableFile, most_rows: int = MOST_ROWS) -> Evaluation:
    """Evaluates a model on the validation rows in `file`, on `most_rows` at most. Raises DataMissing, BadData."""
    from workers.evaluating import evaluate

    network = model.network
    most = min(most_rows, MOST_NUMBERS // network.outputs, MOST_PRODUCTS // network.size)
    found = evaluate(spec, network, model.parameters, model.preprocessing, file, max(1, most))
    common = {"task": model.preprocessing.task, "rows": len(found.outputs), "of_rows": found.of_rows}
    more = _regression(model, found) if model.preprocessing.classes is None else _classification(model, found)
    return Evaluation.model_validate(common | more)


def _classification(model: Model, found: "Evaluated") -> dict[str, object]:
    from shared.evaluation import confusion, precision_recall, roc
    from shared.preprocessing import key_of

    classes = [key_of(value) for value in model.preprocessing.classes or ()]
    outputs, truth = found.outputs, found.truth
    is_binary = len(classes) == 2
    predicted = (outputs[:, 0] > 0).astype(int) if is_binary else outputs.argmax(axis=1)
    told: dict[str, object] = {"classes": classes}
    if len(classes) <= MOST_CLASSES:
        told["confusion"] = confusion(truth, predicted, len(classes)).tolist()
    if is_binary and 0 < truth.sum() < len(truth):
        told["roc"] = _curve(roc(outputs[:, 0], truth))
        told["precision_recall"] = _curve(precision_recall(outputs[:, 0], truth))
    if 2 < len(classes) <= MOST_CLASSES:
        told["by_class"] = _by_class(classes, outputs, truth)
    return told


def _by_class(classes: list[str], outputs: "np.ndarray", truth: "np.ndarray") -> list[dict[str, object]]:
    from shared.evaluation import CURVE_POINTS, against_the_rest, precision_recall, roc, spread

    chosen = spread(len(truth), MOST_SCORES // len(classes))
    scores, truth = against_the_rest(outputs[chosen]), truth[chosen]
    most = min(CURVE_POINTS, CURVES_POINTS // len(classes))
    told: list[dict[str, object]] = []
    for code, name in enumerate(classes):
        labels = (truth == code).astype(int)
        rows = int(labels.sum())
        if 0 < rows < len(labels):
            curves = {each.__name__: _curve(each(scores[:, code], labels, most)) for each in (roc, precision_recall)}
            told.append({"name": name, "rows": rows, "of_rows": len(labels), **curves})
    return told


def _curve(curve: "Curve") -> dict[str, object]:
    threshold = [None, *curve.threshold[1:].tolist()]
    return {"x": curve.x.tolist(), "y": curve.y.tolist(), "threshold": threshold, "area": curve.area}


def _regression(model: Model, found: "Evaluated") -> dict[str, object]:
    from shared.evaluation import histogram, spread

    points = spread(len(found.outputs), POINTS)
    targets = []
    for index, target in enumerate(model.preprocessing.targets):
        actual, predicted = (values[:, index] * target.scale + target.mean for values in (found.truth, found.outputs))
        edges, counts = histogram(predicted - actual, BINS)
        targets.append(
            {
                "name": target.name,
                "actual": actual[points].tolist(),
                "predicted": predicted[points].tolist(),
                "residuals": {"edges": edges.tolist(), "counts": counts.tolist()},
            }
        )
    return {"targets": targets}


class Evaluations:
    """Evaluations by job, those asked last kept in memory; one is computed at a time, and waited for by those who ask
    for it, or for another one that is not known yet."""

    def __init__(self, compute: Callable[[Model, JobSpec, TableFile], Evaluation] = evaluation_of) -> None:
        self._compute = compute
        self._computing = threading.Lock()
        self._known = MadeOnce[Evaluation](KEPT)

    def get(self, job_id: str, model: Model, spec: JobSpec, file: TableFile) -> Evaluation:
        """That of a job, whose model and validation data never change. Raises DataMissing, BadData."""

        def compute() -> Evaluation:
            with self._computing:
                return self._compute(model, spec, file)

        return self._known.get(job_id, compute)
