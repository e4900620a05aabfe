"""How data sets, jobs and metrics look in a terminal."""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from chainrule.places import ordinal, place_text
from chainrule.records import (
    TERMINAL_STATES,
    Column,
    Dataset,
    JobRecord,
    Key,
    LogLine,
    Metric,
    Move,
    Node,
    Plan,
    Prediction,
    Progress,
)
from chainrule.tenants import Limits, Tenant
from chainrule.text import plain
from chainrule.webhook_records import Delivery, Webhook

__all__ = [
    "bytes_text",
    "cpus_text",
    "dataset_details",
    "datasets_table",
    "deliveries_table",
    "duration_text",
    "job_details",
    "jobs_table",
    "keys_table",
    "log_line",
    "make_console",
    "nodes_table",
    "number_text",
    "plan_details",
    "predictions_table",
    "quota_details",
    "quotas_table",
    "state_text",
    "webhooks_table",
]

STATE_STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "paused": "magenta",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "dim",
}
LEVEL_STYLES = {"info": "", "warning": "yellow", "error": "bold red"}
CLASSES_SHOWN = 3  # of a prediction
GAP = 2  # characters between two columns
LOG_WIDTH = 160  # columns, where no terminal sets a width


def make_console(*, stderr: bool = False) -> Console:
    """A console on stdout (or stderr): a user's text is never markup, and a file or pipe gets lines of full length."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = LOG_WIDTH
    return console


def number_text(value: Any) -> str:
    """A number as short as it stays readable; '—' for none."""
    if value is None:
        return "—"
    if isinstance(value, bool | str):
        return plain(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-4 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.2e}"


def cpus_text(count: int) -> str:
    """So many CPUs."""
    return f"{count:,} {'CPU' if count == 1 else 'CPUs'}"


def bytes_text(size: float) -> str:
    """A size in the largest unit that leaves a digit before the point."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float | None) -> str:
    """A duration in its two largest units; '—' for none."""
    if seconds is None:
        return "—"
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = int(seconds)
    for unit, size, smaller, smaller_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def age_text(time: datetime, now: datetime | None = None) -> str:
    """How long ago a time was, in its largest unit."""
    return " ".join(duration_text(((now or datetime.now(UTC)) - time).total_seconds()).split()[:2])


def time_text(time: datetime) -> str:
    """A time as clocks show it here, to the second."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def state_text(state: str) -> Text:
    """A job's state in its colour."""
    return Text(plain(state), style=STATE_STYLES.get(state, ""))


class _Table:
    """A table that fits: columns in `cut` and `fold` may be as narrow as told there, and what is longer is cut off or
    goes on in the next line; the others stay whole, and those in `spare` are left out, one by one, where there is no
    room for all."""

    def __init__(
        self,
        *columns: str,
        right: Collection[str] = (),
        cut: Mapping[str, int] | None = None,
        fold: Mapping[str, int] | None = None,
        spare: Sequence[str] = (),
    ) -> None:
        self._right, self._cut, self._spare = right, cut or {}, spare
        self._narrowest = {**self._cut, **(fold or {})}
        self._cells: dict[str, list[Text]] = {column: [] for column in columns}

    def add_row(self, *cells: str | Text) -> None:
        """Adds a line."""
        for column, cell in zip(self._cells, cells, strict=True):
            text = cell if isinstance(cell, Text) else Text(cell)
            if column in self._cut:
                text.no_wrap, text.overflow = True, "ellipsis"
            self._cells[column].append(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = dict(self._cells)
        for column in self._spare:
            if sum(map(self._least, shown)) + GAP * (len(shown) - 1) <= options.max_width:
                break
            del shown[column]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        for column in shown:
            justify: Literal["left", "right"] = "right" if column in self._right else "left"
            table.add_column(column, justify=justify, overflow="fold", no_wrap=column not in self._narrowest)
        for row in zip(*shown.values(), strict=True):
            table.add_row(*row)
        yield table

    def _least(self, column: str) -> int:
        """The least width of a column, in characters."""
        whole = max(cell_len(line) for text in (column, *map(str, self._cells[column])) for line in text.split("\n"))
        return min(whole, self._narrowest.get(column, whole))


# ---------------------------------------------------------------- the cluster
def nodes_table(nodes: Iterable[Node]) -> RenderableType:
    """One line a machine."""
    numbers = ("CPUs", "free", "memory")
    table = _Table("address", *numbers, "kernel", right=numbers)
    for node in nodes:
        cpus = (f"{node.cpus:g}", f"{node.cpus_free:g}")
        table.add_row(plain(node.address), *cpus, bytes_text(node.memory_bytes), plain(node.blas_kernel or "unknown"))
    return table


# ---------------------------------------------------------------- data sets
def datasets_table(datasets: Iterable[Dataset]) -> RenderableType:
    """One line a data set."""
    numbers = ("version", "rows", "columns", "size", "age")
    table = _Table("id", "name", *numbers, right=numbers, cut={"name": 12}, spare=("columns", "age"))
    for dataset in datasets:
        table.add_row(
            dataset.id,
            plain(dataset.name),
            str(dataset.version),
            number_text(dataset.rows),
            number_text(len(dataset.columns)),
            bytes_text(dataset.size_bytes),
            age_text(dataset.created_at),
        )
    return table


def keys_table(keys: Iterable[Key]) -> RenderableType:
    """One line a key."""
    cut = {"name": 10, "tenant": 8}
    table = _Table("id", "name", "tenant", "scopes", "age", "ends", right=("age",), cut=cut, spare=("age",))
    for key in keys:
        ends = time_text(key.expires_at) if key.expires_at else "never"
        if key.revoked_at:
            ends = f"revoked at {time_text(key.revoked_at)}"
        table.add_row(key.id, plain(key.name), key.tenant, " ".join(key.scopes), age_text(key.created_at), ends)
    return table


def webhooks_table(webhooks: Iterable[Webhook]) -> RenderableType:
    """A webhook after the other."""
    fold = {"url": 16, "events": 13, "state": 10}
    table = _Table("id", "url", "events", "age", "state", right=("age",), fold=fold, spare=("age",))
    for webhook in webhooks:
        state = "failing" if webhook.failing_since else "enabled"
        if not webhook.enabled:
            state = f"disabled: {webhook.disabled_reason}"
        table.add_row(
            webhook.id, plain(webhook.url), " ".join(webhook.events), age_text(webhook.created_at), plain(state)
        )
    return table


def deliveries_table(deliveries: Iterable[Delivery]) -> RenderableType:
    """A delivery after the other; `next` is how long until it is tried again."""
    numbers, spare = ("tries", "status", "next", "age"), ("age", "status", "tries", "event")
    table = _Table("id", "event", "state", *numbers, "error", right=numbers, fold={"error": 11}, spare=spare)
    now = datetime.now(UTC)
    for each in deliveries:
        table.add_row(
            each.id,
            each.event,
            each.state,
            str(each.attempts),
            number_text(each.response_status),
            f"in {age_text(now, each.next_attempt_at)}" if each.next_attempt_at else "",
            age_text(each.created_at, now),
            plain(each.error or ""),
        )
    return table


def dataset_details(dataset: Dataset) -> RenderableType:
    """A data set and the profile of each column."""
    table = _Table("column", "type", "missing", "values", right=("missing",), fold={"column": 12, "values": 12})
    for column in dataset.columns:
        table.add_row(plain(column.name), column.type, number_text(column.missing), plain(_values_text(column)))
    facts = _facts(
        {
            "id": dataset.id,
            "name": f"{plain(dataset.name)}, version {dataset.version}",
            "rows": number_text(dataset.rows),
            "size": bytes_text(dataset.size_bytes),
            "sha256": dataset.sha256,
            "created": dataset.created_at.isoformat(),
        }
    )
    notes = [(column.name, column.note) for column in dataset.columns]
    told = [Text(plain(f"column {name!r} is {note}")) for name, note in notes if note]
    return Group(facts, table, *told)


def _values_text(column: Column) -> str:
    """A column's profile, in words."""
    if column.shape is not None:
        return f"{' × '.join(map(str, column.shape))} {column.dtype or ''}".strip()
    most_common = column.most_common or []
    parts = [
        f"{number_text(column.min)} to {number_text(column.max)}" if column.min is not None else "",
        f"mean {number_text(column.mean)}" if column.mean is not None else "",
        f"{number_text(column.distinct)} distinct" if column.distinct is not None else "",
        *most_common[:3],
    ]
    return ", ".join(filter(None, parts)) + (", …" if len(most_common) > 3 else "")


# ---------------------------------------------------------------- tenants
QUANTITIES = {
    "running_jobs": "running",
    "cpus": "CPUs",
    "queued_jobs": "queued",
    "stored_bytes": "stored",
    "submits_per_minute": "per minute",
    "max_priority": "priority",
    "share": "share",
}
"""What a quota limits, and what a column of it is called."""


def quota_details(tenant: str, limits: Limits, usage: Mapping[str, int]) -> RenderableType:
    """What one tenant has of what it may have."""
    shown = {name.replace("_", " "): _quota_text(name, limits, usage, "no limit") for name in QUANTITIES}
    return _facts({"tenant": plain(tenant), **shown})


def quotas_table(tenants: Iterable[Tenant]) -> RenderableType:
    """One line a tenant: what it has of what it may have."""
    numbers = list(QUANTITIES.values())
    table = _Table("tenant", *numbers, right=numbers, cut={"tenant": 10}, spare=("priority", "share", "per minute"))
    for each in tenants:
        table.add_row(plain(each.name), *(_quota_text(name, each.limits, each.usage, "∞") for name in QUANTITIES))
    return table


def _quota_text(name: str, limits: Limits, usage: Mapping[str, int], unlimited: str) -> str:
    text = bytes_text if name == "stored_bytes" else number_text
    limit = unlimited if (most := limits[name]) is None else text(most)
    return f"{text(usage[name])} of {limit}" if name in usage else limit


# ---------------------------------------------------------------- jobs
def best_loss(metrics: Mapping[str, Any]) -> Any:
    """The loss to show where there is room for one: the validation's if there is one."""
    return metrics.get("validation_loss", metrics.get("train_loss"))


def jobs_table(jobs: Iterable[JobRecord]) -> RenderableType:
    """One line a job."""
    numbers = ("done", "loss", "age")
    table = _Table("id", "name", "state", *numbers, right=numbers, cut={"name": 12}, spare=("age", "loss"))
    for job in jobs:
        progress = job.progress
        table.add_row(
            job.id,
            plain(job.name),
            Text.assemble(state_text(job.state), f" ({ordinal(job.queue.position)})" if job.queue else ""),
            f"{progress.fraction:.0%}",
            number_text(best_loss(job.latest_metrics)),
            age_text(job.created_at),
        )
    return table


def job_details(job: JobRecord, metrics: Sequence[Metric], history: Sequence[Move], tail: int = 10) -> RenderableType:
    """Everything about a job: facts, spec, the last `tail` metrics, every move."""
    progress = job.progress
    environment = job.environment
    facts: dict[str, str | Text | None] = {
        "id": job.id,
        "name": plain(job.name),
        "state": state_text(job.state),
        "reason": plain(job.reason) if job.reason else None,
        "queue": place_text(job.queue) if job.queue else None,
        "error": plain(job.error.detail) if job.error else None,
        "progress": _progress_text(progress, job.state),
        "workers": number_text(job.workers),
        "attempt": number_text(job.attempt),
        "parameters": number_text(job.parameters),
        "sha256": job.parameters_sha256,
        "environment": ", ".join(f"{key} {plain(value)}" for key, value in environment.items()) or None,
        "created": job.created_at.isoformat(),
        "started": job.started_at.isoformat() if job.started_at else None,
        "finished": job.finished_at.isoformat() if job.finished_at else None,
        "final metrics": ", ".join(f"{key} {number_text(value)}" for key, value in job.latest_metrics.items()) or None,
    }
    parts: list[RenderableType] = [_facts(facts), Text("\nSpec", style="bold"), _facts(_spec_facts(job.spec))]
    if metrics:
        cut = f" (the last {tail} of {len(metrics)})" if len(metrics) > tail else ""
        parts += [Text(f"\nMetrics{cut}", style="bold"), metrics_table(metrics[-tail:])]
    if history:
        parts += [Text("\nHistory", style="bold"), history_table(history)]
    return Group(*parts)


def metrics_table(metrics: Sequence[Metric]) -> RenderableType:
    """One line a measurement, one column a metric, in the order in which they first occur."""
    names = {name: name.replace("_", "\n") for metric in metrics for name in metric}
    spare = [names[name] for name in ("elapsed_s", "learning_rate", "samples_per_s") if name in names]
    table = _Table(*names.values(), right=names.values(), spare=spare)
    for metric in metrics:
        table.add_row(*(number_text(metric.get(name)) for name in names))
    return table


def predictions_table(predictions: Sequence[Prediction]) -> RenderableType:
    """One line a row: what is predicted, of each target, and for a classification the most probable classes."""
    lines = [each.value if isinstance(each.value, dict) else {"value": each.value} for each in predictions]
    targets = [plain(name) for name in (lines[0] if lines else ["value"])]
    classes = [_classes_text(each.probabilities) for each in predictions if each.probabilities]
    table = _Table(*targets, *(["probabilities"] if classes else []), fold=dict.fromkeys(targets, 12))
    for number, line in enumerate(lines):
        table.add_row(*map(number_text, line.values()), *classes[number : number + 1])
    return table


def _classes_text(probabilities: Mapping[str, float]) -> str:
    ordered = sorted(probabilities.items(), key=lambda each: -each[1])
    told = [f"{plain(name)} {share:.2%}" for name, share in ordered[:CLASSES_SHOWN]]
    return ", ".join([*told, "…"] if len(ordered) > CLASSES_SHOWN else told)


def history_table(history: Sequence[Move]) -> RenderableType:
    """A move after the other."""
    table = _Table("when", "from", "to", "why", fold={"why": 16})
    for move in history:
        before = move.from_
        table.add_row(
            time_text(move.when),
            state_text(before) if before else "",
            state_text(move.to),
            plain(move.why),
        )
    return table


def plan_details(plan: Plan) -> RenderableType:
    """What a job would cost, and its spec with every default filled in."""
    facts = {
        name.replace("_bytes", "").replace("_", " "): bytes_text(value)
        if name.endswith("_bytes")
        else number_text(value)
        for name, value in plan.json.items()
        if isinstance(value, int | float)
    }
    notes = [Text(f"note: {plain(note)}", style="yellow") for note in plan.notes]
    return Group(_facts(facts), *notes, Text("\nSpec", style="bold"), _facts(_spec_facts(plan.spec)))


def _spec_facts(spec: Mapping[str, Any]) -> dict[str, str]:
    return {name: _short(value) for name, value in spec.items() if value not in (None, {}) or name == "validation"}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text if len(text) <= 400 else text[:399] + "…")


def _progress_text(progress: Progress, state: str) -> str:
    eta = progress.eta_s
    left = f", {duration_text(eta)} left" if eta is not None and state not in (*TERMINAL_STATES, "paused") else ""
    return (
        f"{progress.fraction:.0%}, step {progress.step:,} of {progress.steps:,}, "
        f"epoch {progress.epoch:,} of {progress.epochs:,}{left}"
    )


def _facts(facts: Mapping[str, str | Text | None]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            grid.add_row(name, value if isinstance(value, Text) else Text(value))
    return grid


def log_line(line: LogLine) -> Text:
    """One line of a job's log."""
    at = "" if line.at is None else f"{time_text(line.at)} "
    attempt = f" (attempt {line.attempt})" if line.attempt > 1 else ""
    level = (f"{line.level:<7} ", LEVEL_STYLES.get(line.level, ""))
    return Text.assemble((at, "dim"), level, plain(line.message), (attempt, "dim"))
