"""A job that one can wait for, look into, and predict with."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chainrule.aio.waiting import INTERRUPTS
from chainrule.errors import ChainruleError, Unavailable, Unreachable
from chainrule.evaluation import Evaluation
from chainrule.frames import frame
from chainrule.records import Checkpoint, Event, JobRecord, LogLine, Move, Prediction
from chainrule.views import View, view_of

if TYPE_CHECKING:
    from chainrule.aio.client import AsyncClient
    from chainrule.model import Model

__all__ = ["AsyncJob"]


@dataclass(kw_only=True, eq=False)
class AsyncJob(JobRecord):
    """One job. Its fields say how it was doing when it was last asked for; `refresh` and `wait` ask again.

    Methods raise what the client's methods of the same names raise.
    """

    _client: "AsyncClient" = field(repr=False)

    @classmethod
    def of(cls, client: "AsyncClient", json: Mapping[str, Any]) -> Self:
        """From the service's answer."""
        return cls(_client=client, **cls.values(json))

    def _take(self, job: JobRecord) -> Self:
        for name, value in self.values(job.json).items():
            setattr(self, name, value)
        return self

    # ------------------------------------------------------------------ how it goes
    async def refresh(self) -> Self:
        """Asks how it is doing now."""
        return self._take(await self._client.job(self.id))

    async def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> Self:
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
                return self._take(await self._client.wait(self.id, timeout_s))
            return await self.follow(view, timeout_s)
        except INTERRUPTS as interrupt:
            interrupt.add_note(f"{self.id} goes on: client.job({self.id!r}) finds it, to wait() again or to cancel()")
            raise

    async def follow(self, view: View, timeout_s: float | None = None) -> Self:
        """Shows it in `view` until it has ended. Raises NotEnded after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with view:
            await self._wait_for_cpus(view, deadline)
            async for event in self.events(on_break=view.broken, timeout_s=_left_s(deadline)):
                view.show(event.type, event.data)
            self._take(await self._client.wait(self.id, _left_s(deadline)))  # the service may go away just then
            view.end(self)
        return self

    async def _wait_for_cpus(self, view: View, deadline: float | None) -> None:
        """Shows where it stands as long as it waits: that is no event. What happens meanwhile is told afterwards."""
        if self.queue is None:
            return
        try:
            async for job in self._client.waiting(self.id):
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
    ) -> AsyncIterator[Event]:
        """Its events, live, until it has ended."""
        return self._client.events(self.id, last_event_id, on_break=on_break, timeout_s=timeout_s)

    async def metrics(self, after: int | None = None, *, points: int | None = None) -> Any:
        """Its metrics so far, one row a measurement; only steps above `after` if given, and `points` at most.

        A pandas frame where pandas is installed, else a Polars frame where that is, else a list of dictionaries.
        """
        return frame(await self._client.metrics(self.id, after, points=points))

    async def history(self) -> list[Move]:
        """Every move: from, to, when, why."""
        return await self._client.history(self.id)

    async def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that are kept of it, newest first; none once it has succeeded."""
        return await self._client.checkpoints(self.id)

    async def logs(self, after: int | None = None) -> list[LogLine]:
        """The lines of its log so far, oldest first; only those with a `seq` above `after` if given."""
        return await self._client.logs(self.id, after)

    def follow_logs(
        self,
        after: int | None = None,
        *,
        on_break: Callable[[ChainruleError], None] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """The lines of its log, live, until it has ended."""
        return self._client.follow_logs(self.id, after, on_break=on_break, timeout_s=timeout_s)

    async def plot(self, axes: Any = None) -> Any:
        """Draws the losses by epoch, into matplotlib's `axes` if given, and returns these. It needs chainrule[plot]."""
        from chainrule.plot import draw, new_axes  # late, because it loads matplotlib

        steps_per_epoch = self.progress.steps / self.progress.epochs
        return draw(await self._client.metrics(self.id), steps_per_epoch, new_axes() if axes is None else axes)

    # ------------------------------------------------------------------ moves
    async def cancel(self) -> Self:
        """Stops it for good; repeating is harmless. Raises Conflict if it has ended otherwise."""
        return self._take(await self._client.cancel(self.id))

    async def pause(self) -> Self:
        """Stops it at the next step, its place kept; repeating is harmless."""
        return self._take(await self._client.pause(self.id))

    async def resume(self) -> Self:
        """Lets it go on after a pause; repeating is harmless."""
        return self._take(await self._client.resume(self.id))

    async def delete(self) -> None:
        """Removes it and its files. Raises Conflict as long as it has not ended."""
        await self._client.delete_job(self.id)

    # ------------------------------------------------------------------ what comes of it
    async def model(self) -> "Model":
        """The trained model, to predict with on this machine. It needs chainrule[model]."""
        return await self._client.model(self.id)

    async def predict(self, rows: Any) -> list[Prediction]:
        """Predictions for `rows`, dictionaries or a table, in order, made by the service."""
        return await self._client.predict(self.id, rows)

    async def evaluation(self) -> Evaluation:
        """How good its model is on the rows that it was validated on. Raises Conflict for a job without a model or
        without validation, NotFound where the rows have been deleted."""
        return await self._client.evaluation(self.id)

    async def download_model(self, path: str | Path) -> Path:
        """Writes the model, one safetensors file, to `path`: whole, or not at all."""
        return await self._client.download_model(self.id, path)

    def _repr_html_(self) -> str:
        from chainrule.notebook import job_html

        return job_html(self)


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
