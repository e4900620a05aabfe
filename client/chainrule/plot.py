"""A plot of a job's losses, by matplotlib."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainrule.chart import losses
from chainrule.errors import ChainruleError
from chainrule.records import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "new_axes"]


def new_axes() -> "Axes":
    """Axes of a new figure, which a notebook shows below the cell. Raises ChainruleError without matplotlib."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ChainruleError("a plot needs matplotlib: pip install matplotlib") from error
    return pyplot.subplots()[1]


def draw(metrics: Sequence[Metric], steps_per_epoch: float, axes: "Axes") -> "Axes":
    """Draws the losses over the epochs."""
    for label, points in losses(metrics, steps_per_epoch).items():
        axes.plot(*zip(*points, strict=True), label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    if axes.lines:
        axes.legend()
    return axes
