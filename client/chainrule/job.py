# Written by `make sync` from aio/job.py: change that file, not this one.
"""A job that one can wait for, look into, and predict with."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chainrule.errors import ChainruleError, Unavailable, Unreachable
from chainrule.evaluation import Evaluation
from chainrule.frames import frame
from chainrule.records import Checkpoint, Event, JobRecord, LogLine, Move, Prediction
from chainrule.views import View, view_of
from chainrule.waiting import INTERRUPTS

if TYPE_CHECKING:
    from chainrule.client import Client
    from chainrule.model import Model

__all__ = ["Job"]


@dataclass(kw_only=True, eq=False)
class Job(JobRecord):
    """One job. Its fields say how it was doing when it was last asked for; `refresh` and `wait` ask again.

    Methods raise what the client's methods of the same names raise.
    """

    _client: "Client" = field(repr=False)

    @classmethod
    def of(cls, client: "Client", json: Mapping[str, Any]) -> Self:
        """From the service's answer."""
        return cls(_client=client, **cls.values(json))

    def _take(self, job: JobRecord) -> Self:
        for name, value in self.values(job.json).items():
            setattr(self, name, value)
        return self

    # ------------------------------------------------------------------ how it goes
    def refresh(self) -> Self:
        """Asks how it is doing now."""
        return self._take(self._client.job(self.id))

    def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> Self:
        """Returns when it has succeeded, failed or been cancelled: look at `state`.

        It is shown meanwhile: live in a notebook, as a bar in a terminal. `progress=False` shows nothing, `True` writes
        lines where there is neither. A service that goes away is waited for, a minute at most. Raises NotEnded
        after `timeout_s`.

        To wait is only to look: Ctrl-C, or a notebook's stop button, ends the wait, and the job goes on. The interrupt
        says so, and how to wait again or to cancel.
        """
        view = view_of(self, progress)
        try:
            if view is None or self.is_over:
                return self._take(self._client.wait(self.id, timeout_s))
            return self.follow(view, timeout_s)
        except INTERRUPTS as interrupt:
            interrupt.add_note(f"{self.id} goes on: client.job({self.id!r}) finds it, to wait() again or to cancel()")
            raise

    def follow(self, view: View, timeout_s: float | None = None) -> Self:
        """Shows it in `view` until it has ended. Raises NotEnded after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with view:
            self._wait_for_cpus(view, deadline)
            for event in self.events(on_break=view.broken, timeout_s=_left_s(deadline)):
                view.show(event.type, event.data)
            self._take(self._client.wait(self.id, _left_s(deadline)))  # the service may go away just then
            view.end(self)
        return self

    def _wait_for_cpus(self, view: View, deadline: float | None) -> None:
        """Shows where it stands as long as it waits: that is no event. What happens meanwhile is told afterwards."""
        if self.queue is None:
            return
        try:
            for job in self._client.waiting(self.id):
                view.waits(job)
                if deadline is not None and time.monotonic() > deadline:
                    return
        except (Unreachable, Unavailable) as error:
            view.broken(error)  # the events wait for the service

    def events(
        self,
        last_event_id: str | None = None,
        *,
        on_break: Callable[[ChainruleError], None] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Event]:
        """Its events, live, until it has ended."""
        return self._client.events(self.id, last_event_id, on_break=on_break, timeout_s=timeout_s)

    def metrics(self, after: int | None = None, *, points: int | None = None) -> Any:
        """Its metrics so far, one row a measurement; only steps above `after` if given, and `points` at most.

        A pandas frame where pandas is installed, else a Polars frame where that is, else a list of dictionaries.
        """
        return frame(self._client.metrics(self.id, after, points=points))

    def history(self) -> list[Move]:
        """Every move: from, to, when, why."""
        return self._client.history(self.id)

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that are kept of it, newest first; none once it has succeeded."""
        return self._client.checkpoints(self.id)

    def logs(self, after: int | None = None) -> list[LogLine]:
        """The lines of its log so far, oldest first; only those with a `seq` above `after` if given."""
        return self._client.logs(self.id, after)

    def follow_logs(
        self,
        after: int | None = None,
        *,
        on_break: Callable[[ChainruleError], None] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[LogLine]:
        """The lines of its log, live, until it has ended."""
        return self._client.follow_logs(self.id, after, on_break=on_break, timeout_s=timeout_s)

    def plot(self, axes: Any = None) -> Any:
        """Draws the losses by epoch, into matplotlib's `axes` if given, and returns these. It needs chainrule[plot]."""
        from chainrule.plot import draw, new_axes  # late, because it loads matplotlib

        steps_per_epoch = self.progress.steps / self.progress.epochs
        return draw(self._client.metrics(self.id), steps_per_epoch, new_axes() if axes is None else axes)

    # ------------------------------------------------------------------ moves
    def cancel(self) -> Self:
        """Stops it for good; repeating is harmless. Raises Conflict if it has ended otherwise."""
        return self._take(self._client.cancel(self.id))

    def pause(self) -> Self:
        """Stops it at the next step, its place kept; repeating is harmless."""
        return self._take(self._client.pause(self.id))

    def resume(self) -> Self:
        """Lets it go on after a pause; repeating is harmless."""
        return self._take(self._client.resume(self.id))

    def delete(self) -> None:
        """Removes it and its files. Raises Conflict as long as it has not ended."""
        self._client.delete_job(self.id)

    # ------------------------------------------------------------------ what comes of it
    def model(self) -> "Model":
        """The trained model, to predict with on this machine. It needs chainrule[model]."""
        return self._client.model(self.id)

    def predict(self, rows: Any) -> list[Prediction]:
        """Predictions for `rows`, dictionaries or a table, in order, made by the service."""
        return self._client.predict(self.id, rows)

    def evaluation(self) -> Evaluation:
        """How good its model is on the rows that it was validated on. Raises Conflict for a job without a model or
        without validation, NotFound where the rows have been deleted."""
        return self._client.evaluation(self.id)

    def download_model(self, path: str | Path) -> Path:
        """Writes the model, one safetensors file, to `path`: whole, or not at all."""
        return self._client.download_model(self.id, path)

    def _repr_html_(self) -> str:
        from chainrule.notebook import job_html

        return job_html(self)


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
