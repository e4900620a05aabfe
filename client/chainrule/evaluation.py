"""How good a model is on rows that it was not trained on, as typed objects."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Self, TypeVar

from chainrule.records import Json, Record

__all__ = ["ClassEvaluation", "Evaluation", "Residuals", "TargetEvaluation", "ThresholdCurve"]

CURVES = ("roc", "precision_recall")

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class ThresholdCurve(Record):
    """A curve over the thresholds of the probability of the second class."""

    x: list[float] = field(repr=False)
    """False positive rate (ROC), or recall."""
    y: list[float] = field(repr=False)
    """True positive rate (ROC), or precision."""
    threshold: list[float | None] = field(repr=False)
    """The least output of the network, a logit, that counts as the second class; None where none does."""
    area: float
    """Area under the curve; of precision over recall, the average precision."""


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation(Record):
    """How one of several classes is told from all others together."""

    name: str
    rows: int
    """Rows of this class among those that the curves are made of."""
    of_rows: int
    """Rows that the curves are made of: all that were looked at, or evenly chosen ones."""
    roc: ThresholdCurve
    """The true positive rate over the false positive rate."""
    precision_recall: ThresholdCurve
    """The precision over the recall."""

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, **{name: ThresholdCurve.of(json[name]) for name in CURVES})


@dataclass(frozen=True, kw_only=True)
class Residuals(Record):
    """How predicted minus actual is spread, in the target's own units."""

    edges: list[float]
    """Bounds of the bars, one more than there are bars."""
    counts: list[int]
    """Rows in each bar."""


@dataclass(frozen=True, kw_only=True)
class TargetEvaluation(Record):
    """How one target of a regression is predicted, in its own units."""

    name: str
    actual: list[float] = field(repr=False)
    """What rows have, 1,000 at most, evenly chosen."""
    predicted: list[float] = field(repr=False)
    """What the model says of the same rows."""
    residuals: Residuals = field(repr=False)
    """Over all rows that were looked at."""

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls._of(json, residuals=Residuals.of(json["residuals"]))


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """What a model's validation rows say of it; what does not apply to its task is None."""

    task: Literal["classification", "regression"]
    rows: int
    """Validation rows that were looked at: of very many, or with a very large network, evenly chosen ones."""
    of_rows: int
    """Validation rows that there are."""
    classes: list[str] | None
    """In the order of the network's outputs."""
    confusion: list[list[int]] | None
    """Rows: a line for each class as it is, a column for each as it is predicted; None for more than 50 classes."""
    roc: ThresholdCurve | None
    """Two classes: the second's true positive rate over its false positive rate; None where one is absent."""
    precision_recall: ThresholdCurve | None
    """Two classes: the second's precision over its recall; None where one is absent."""
    by_class: tuple[ClassEvaluation, ...] | None
    """From 3 to 50 classes: each against the rest; without those of which there is no row, or no other."""
    targets: tuple[TargetEvaluation, ...] | None
    """A regression's targets."""

    @classmethod
    def of(cls, json: Json) -> Self:
        curves = {name: ThresholdCurve.of(json[name]) for name in CURVES if json.get(name)}
        return cls._of(
            json,
            by_class=_each(ClassEvaluation.of, json.get("by_class")),
            targets=_each(TargetEvaluation.of, json.get("targets")),
            **curves,
        )


def _each(read: Callable[[Json], Part], told: Iterable[Json] | None) -> tuple[Part, ...] | None:
    return None if told is None else tuple(map(read, told))
