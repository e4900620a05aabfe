"""A job followed live: a moving bar in a terminal, a line for each measurement in a log."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from chainrule.errors import ChainruleError
from chainrule.places import place_text
from chainrule.records import JobRecord
from chainrule.show import best_loss, cpus_text, duration_text, number_text, state_text
from chainrule.text import plain
from chainrule.views import View

__all__ = ["view_on"]


def view_on(job: JobRecord, console: Console) -> View:
    """What shows the job on `console` while it is followed."""
    return _Bar(job, console) if console.is_terminal else _Lines(job, console)


WIDE = 110  # columns of a terminal from which on there is room for samples/s too


class _Rate(ProgressColumn):
    """Loss, accuracy, samples/s and time left, as far as they are known."""

    def render(self, task: Task) -> Text:
        metrics, eta_s = task.fields["metrics"], task.fields["eta_s"]
        parts = []
        if (loss := best_loss(metrics)) is not None:
            parts.append(f"loss {number_text(loss)}")
        if (accuracy := metrics.get("validation_accuracy")) is not None:
            parts.append(f"accuracy {accuracy:.2%}")
        if (rate := metrics.get("samples_per_s")) is not None and task.fields["wide"]:
            parts.append(f"{rate:,.0f} samples/s")
        parts.append(f"{duration_text(eta_s)} left" if eta_s is not None else f"{duration_text(task.elapsed)}")
        return Text("  ".join(parts))


LINE_METRICS = ("train_loss", "validation_loss", "validation_accuracy", "validation_auc", "validation_rmse")


def _numbers(metrics: Mapping[str, Any]) -> str:
    """The metrics that fit into a line of a log."""
    parts = [f"{name} {number_text(metrics[name])}" for name in LINE_METRICS if name in metrics]
    if (rate := metrics.get("samples_per_s")) is not None:
        parts.append(f"{rate:,.0f} samples/s")
    return ", ".join(parts)


def _cell(ratio: int | None = None, min_width: int | None = None) -> Column:
    """A column of the line that is cut where the terminal is narrow, and never wraps."""
    return Column(no_wrap=True, overflow="ellipsis", ratio=ratio, min_width=min_width)


_OPEN: dict[IO[str], Progress] = {}
"""The moving lines by the terminal that they are on: two of these at once would both move its cursor."""
_OPENING = threading.Lock()


def _lines_on(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.fields[job]}", markup=False, style="bold", table_column=_cell(ratio=2)),
        TextColumn("{task.fields[state]}", markup=False, table_column=_cell(ratio=2)),
        BarColumn(bar_width=None, finished_style="green", table_column=_cell(ratio=3, min_width=8)),
        TextColumn("{task.percentage:>3.0f}%", markup=False, table_column=_cell()),
        TextColumn("{task.fields[epoch]}", markup=False, table_column=_cell()),
        _Rate(table_column=_cell()),
        console=console,
        expand=True,
    )


class _Bar:
    """One moving line; it joins those that are open on the same terminal."""

    def __init__(self, job: JobRecord, console: Console) -> None:
        self._job, self._console = job, console
        self._state: str = job.state
        self._metrics: dict[str, Any] = {}

    def __enter__(self) -> "_Bar":
        with _OPENING:
            self._file = self._console.file
            self._progress = _OPEN.setdefault(self._file, _lines_on(self._console))
            self._task = self._progress.add_task(
                "",
                total=1.0,
                job=plain(self._job.name)[:30],
                state=self._state,
                wide=self._console.width >= WIDE,
                **{"epoch": "", "eta_s": None} | self._fields(self._job.json["progress"], self._job.latest_metrics),
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _OPENING:
            (line,) = (task for task in self._progress.tasks if task.id == self._task)
            if len(self._progress.tasks) > 1:  # the others go on below it
                self._progress.remove_task(self._task)
                self._progress.print(self._progress.make_tasks_table([line]))
            else:
                del _OPEN[self._file]
                self._progress.stop()

    def _fields(self, progress: Mapping[str, Any] | None, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
        """What the line shows of them."""
        self._metrics |= metrics or {}
        if not progress:
            return {"metrics": self._metrics}
        return {
            "metrics": self._metrics,
            "completed": progress["fraction"],
            "epoch": f"epoch {progress['epoch']:,}/{progress['epochs']:,}",
            "eta_s": progress.get("eta_s"),
        }

    def waits(self, job: JobRecord) -> None:
        self._state = place_text(job.queue) if job.queue else job.state
        self._progress.update(self._task, state=self._state, refresh=True)

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "state":
            reason = data.get("reason")
            self._state = plain(f"{data['state']}: {reason}" if reason else data["state"])
        elif kind == "progress":
            self._progress.update(self._task, **self._fields(data, data.get("metrics")))
        elif kind == "metrics":
            self._progress.update(self._task, **self._fields(None, data))
        elif kind == "workers":
            self._state = f"running on {cpus_text(data['workers'])}"
        self._progress.update(self._task, state=self._state)  # whatever comes, the service answers again

    def broken(self, error: ChainruleError) -> None:
        self._progress.update(self._task, state="no answer, trying again")

    def end(self, job: JobRecord) -> None:
        fields = self._fields(job.json["progress"], job.latest_metrics)
        self._progress.update(self._task, **fields | {"state": job.state, "eta_s": None})
        if job.state == "succeeded":  # also where early stopping left epochs out
            self._progress.update(self._task, completed=1.0)


class _Lines:
    """A line for each move, each change of CPUs and each measurement."""

    def __init__(self, job: JobRecord, console: Console) -> None:
        self._console, self._name = console, plain(job.name)
        self._broken = False
        self._place = ""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def waits(self, job: JobRecord) -> None:
        if job.queue and (text := place_text(job.queue)) != self._place:
            self._place = text
            self._say(text)

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        self._broken = False
        if kind == "state":
            self._say(state_text(data["state"]), f" ({plain(data['reason'])})" if data.get("reason") else "")
        elif kind == "workers":
            cpus, step = cpus_text(data["workers"]), number_text(data.get("step"))
            self._say(f"computes on {cpus} from step {step} on: {plain(data['why'])}")
        elif kind == "metrics":
            self._say(f"epoch {data.get('epoch')}, step {number_text(data.get('step'))}: {_numbers(data)}")

    def broken(self, error: ChainruleError) -> None:
        if not self._broken:
            self._say("no answer, trying again")
        self._broken = True

    def _say(self, *parts: str | Text) -> None:
        self._console.print(Text.assemble(f"{self._name}: ", *parts), soft_wrap=True)

    def end(self, job: JobRecord) -> None:
        return
