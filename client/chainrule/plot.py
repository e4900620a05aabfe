"""A chart of a job's losses, by matplotlib (`pip install 'chainrule[plot]'`)."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainrule.errors import ChainruleError
from chainrule.records import Metric

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ChainruleError("a chart needs matplotlib: pip install 'chainrule[plot]'") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "new_axes", "svg"]

LOSSES = {"train_loss": "training", "validation_loss": "validation"}


def new_axes() -> "Axes":
    """Axes of a new figure, which a notebook shows below the cell."""
    from matplotlib import pyplot

    return pyplot.subplots()[1]


def draw(metrics: Sequence[Metric], axes: "Axes") -> "Axes":
    """Draws the losses over the epochs, of which a long one may be measured several times."""
    steps_per_epoch = max((metric["step"] / metric["epoch"] for metric in metrics if metric["epoch"]), default=1.0)
    for name, label in LOSSES.items():
        points = [
            (metric["step"] / steps_per_epoch, metric[name]) for metric in metrics if metric.get(name) is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    if axes.lines:
        axes.legend()
    return axes


def svg(metrics: Sequence[Metric]) -> str:
    """The chart as an SVG element."""
    figure = Figure(figsize=(6, 3), layout="tight")
    draw(metrics, figure.subplots())
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
