"""A job in a notebook: its facts as HTML, and while one waits a bar and a chart that move."""

import html
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from chainrule.chart import svg
from chainrule.errors import ChainruleError
from chainrule.places import place_text
from chainrule.records import JobRecord, Metric
from chainrule.show import cpus_text, duration_text, number_text
from chainrule.text import plain

__all__ = ["NotebookView", "job_html"]

REDRAWN_AFTER_S = 0.5

Update = Callable[[str], None]


def job_html(job: JobRecord) -> str:
    """The job as it was when it was last asked for."""
    state = _state(job.state, place_text(job.queue) if job.queue else job.reason)
    return _html(job.id, job.name, state, job.json["progress"], job.latest_metrics)


def _state(state: str, reason: str | None) -> str:
    return f"{state}: {reason}" if reason else state


def _html(job_id: str, name: str, state: str, progress: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    eta = progress.get("eta_s")
    shown = ", ".join(f"{key} {number_text(value)}" for key, value in metrics.items() if key not in ("step", "epoch"))
    cells = [
        f"<b>{_text(name)}</b> <code>{_text(job_id)}</code>",
        _text(state),
        f'<progress max="1" value="{float(progress["fraction"])}"></progress> {progress["fraction"]:.0%}',
        f"epoch {progress['epoch']:,} of {progress['epochs']:,}",
        f"{duration_text(eta)} left" if eta is not None and progress["fraction"] < 1 else "",
    ]
    return f"<div>{' &nbsp; '.join(filter(None, cells))}<br><small>{_text(shown)}</small></div>"


def _text(value: object) -> str:
    return html.escape(plain(value))


def _displayed(first: str) -> Update:
    """Shows HTML below the cell, and gives what replaces it."""
    from IPython.display import HTML, display

    handle = display(HTML(first), display_id=True)  # type: ignore[no-untyped-call]
    return lambda text: handle.update(HTML(text))  # type: ignore[no-untyped-call]


class NotebookView:
    """Below the cell: state, bar, latest metrics, and a chart of the losses.

    `display` shows HTML and returns what replaces it; tests pass one of their own.
    """

    def __init__(self, job: JobRecord, display: Callable[[str], Update] = _displayed) -> None:
        self._job, self._display = job, display
        self._state = _state(job.state, job.reason)
        self._is_broken = False
        self._progress: Mapping[str, Any] = job.json["progress"]
        self._metrics: list[Metric] = []
        self._latest: dict[str, Any] = dict(job.latest_metrics)
        self._drawn_at = 0.0

    def __enter__(self) -> "NotebookView":
        self._update = self._display(self._page())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw(at_once=True)

    def waits(self, job: JobRecord) -> None:
        """Shows where it stands."""
        self._state = _state(job.state, place_text(job.queue) if job.queue else job.reason)
        self._draw()

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """Takes in one event."""
        tells_state = kind in ("state", "workers") or self._is_broken
        self._is_broken = False  # whatever comes, the service answers again
        if kind == "state":
            self._state = _state(data["state"], data.get("reason"))
        elif kind == "workers":
            self._state = f"running on {cpus_text(data['workers'])}"
        elif kind == "progress":
            self._progress = data
        elif kind == "metrics":
            self._metrics.append(dict(data))
            self._latest |= data
        self._draw(at_once=tells_state)

    def broken(self, error: ChainruleError) -> None:
        """Says that it is tried again."""
        self._is_broken = True
        self._draw(at_once=True)

    def end(self, job: JobRecord) -> None:
        """The job has ended like this."""
        self._state, self._is_broken = _state(job.state, job.reason), False
        self._progress, self._latest = job.json["progress"], dict(job.latest_metrics)

    def _draw(self, *, at_once: bool = False) -> None:
        """Replaces what is shown, as often as one can look; at once what may be the last for a while."""
        now = time.monotonic()
        if at_once or now - self._drawn_at > REDRAWN_AFTER_S:
            self._update(self._page())
            self._drawn_at = now

    def _page(self) -> str:
        state = "no answer, trying again" if self._is_broken else self._state
        told = _html(self._job.id, self._job.name, state, self._progress, self._latest)
        return told + svg(self._metrics, self._progress["steps"] / self._progress["epochs"])
