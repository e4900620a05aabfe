"""A job's losses over its epochs, and a small chart of them as SVG."""

from collections.abc import Sequence

from chainrule.records import Metric
from chainrule.show import number_text

__all__ = ["losses", "svg"]

LOSSES = {"train_loss": "training", "validation_loss": "validation"}
COLOURS = {"training": "#1f77b4", "validation": "#ff7f0e"}
WIDTH, HEIGHT = 480, 180  # of the whole, in pixels
LEFT, RIGHT, TOP, BOTTOM = 64, 470, 22, 150  # of what the lines are drawn in

Points = list[tuple[float, float]]


def losses(metrics: Sequence[Metric], steps_per_epoch: float) -> dict[str, Points]:
    """Epoch and loss of each measurement, by whose loss it is; a long epoch is measured several times."""
    found = {
        label: [(metric["step"] / steps_per_epoch, metric[name]) for metric in metrics if metric.get(name) is not None]
        for name, label in LOSSES.items()
    }
    return {label: points for label, points in found.items() if points}


def svg(metrics: Sequence[Metric], steps_per_epoch: float) -> str:
    """The chart as an SVG element; empty where nothing was measured."""
    lines = losses(metrics, steps_per_epoch)
    if not lines:
        return ""
    last = max(epoch for points in lines.values() for epoch, _ in points)
    values = [loss for points in lines.values() for _, loss in points]
    low, high = min(values), max(values)

    def at(epoch: float, loss: float) -> str:
        x = LEFT + (RIGHT - LEFT) * epoch / (last or 1.0)
        y = BOTTOM - (BOTTOM - TOP) * (loss - low) / ((high - low) or 1.0)
        return f"{x:.1f},{y:.1f}"

    drawn = [
        f'<path d="M{LEFT},{TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="currentColor" opacity="0.4"/>',
        _text(LEFT - 6, TOP + 4, number_text(high), "end"),
        _text(LEFT - 6, BOTTOM + 4, number_text(low), "end"),
        _text(LEFT, BOTTOM + 18, "0", "middle"),
        _text((LEFT + RIGHT) / 2, BOTTOM + 18, "epoch", "middle"),
        _text(RIGHT, BOTTOM + 18, f"{last:,.4g}", "end"),
    ]
    for number, (label, points) in enumerate(lines.items()):
        seen = [*points[:: 1 + len(points) // WIDTH], points[-1]]  # more than the pixels nobody sees
        drawn.append(
            f'<polyline points="{" ".join(at(*point) for point in seen)}" fill="none" stroke="{COLOURS[label]}"'
            ' stroke-width="1.5" stroke-linecap="round"/>'
        )
        drawn.append(_text(LEFT + 8 + 130 * number, TOP - 8, f"{label} loss", "start", COLOURS[label]))
    told = ", ".join(f"{label} loss {number_text(points[-1][1])}" for label, points in lines.items())
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{told}">{"".join(drawn)}</svg>'


def _text(x: float, y: float, text: str, anchor: str, fill: str = "currentColor") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}" font-size="12">{text}</text>'
