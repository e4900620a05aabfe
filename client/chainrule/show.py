"""How data sets, jobs and metrics look in a terminal."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainrule.places import ordinal, place_text
from chainrule.records import TERMINAL_STATES, Column, Dataset, JobRecord, Key, LogLine, Metric, Move, Plan, Progress
from chainrule.text import plain
from chainrule.webhook_records import Delivery, Webhook

__all__ = [
    "bytes_text",
    "dataset_details",
    "datasets_table",
    "deliveries_table",
    "duration_text",
    "job_details",
    "jobs_table",
    "keys_table",
    "log_line",
    "make_console",
    "number_text",
    "plan_details",
    "state_text",
    "values_table",
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
    """How long ago a time was."""
    return duration_text(((now or datetime.now(UTC)) - time).total_seconds())


def state_text(state: str) -> Text:
    """A job's state in its colour."""
    return Text(plain(state), style=STATE_STYLES.get(state, ""))


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column == "id"
        )
    return table


# ---------------------------------------------------------------- data sets
def datasets_table(datasets: Iterable[Dataset]) -> Table:
    """One line a data set."""
    table = _table(
        "id", "name", "version", "rows", "columns", "size", "age", right=("version", "rows", "columns", "size")
    )
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


def keys_table(keys: Iterable[Key]) -> Table:
    """One line a key."""
    table = _table("id", "name", "tenant", "scopes", "age", "ends")
    for key in keys:
        ends = f"revoked at {key.json['revoked_at']}" if key.revoked_at else key.json["expires_at"] or "never"
        table.add_row(key.id, plain(key.name), key.tenant, " ".join(key.scopes), age_text(key.created_at), ends)
    return table


def webhooks_table(webhooks: Iterable[Webhook]) -> Table:
    """One line a webhook."""
    table = _table("id", "url", "events", "age", "state")
    for webhook in webhooks:
        state = "failing" if webhook.failing_since else "enabled"
        if not webhook.enabled:
            state = f"disabled: {webhook.disabled_reason}"
        table.add_row(
            webhook.id, plain(webhook.url), " ".join(webhook.events), age_text(webhook.created_at), plain(state)
        )
    return table


def deliveries_table(deliveries: Iterable[Delivery]) -> Table:
    """One line a delivery."""
    table = _table("id", "event", "state", "tries", "status", "next try", "age", "error", right=("tries", "status"))
    for each in deliveries:
        table.add_row(
            each.id,
            each.event,
            each.state,
            str(each.attempts),
            number_text(each.response_status),
            each.json["next_attempt_at"] or "",
            age_text(each.created_at),
            plain(each.error or ""),
        )
    return table


def dataset_details(dataset: Dataset) -> RenderableType:
    """A data set and the profile of each column."""
    table = _table(
        "column", "type", "missing", "min", "max", "mean", "distinct", "details", right=("missing", "distinct")
    )
    for column in dataset.columns:
        table.add_row(
            plain(column.name),
            column.type,
            number_text(column.missing),
            number_text(column.min),
            number_text(column.max),
            number_text(column.mean),
            number_text(column.distinct),
            Text(_column_details(column)),
        )
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


def _column_details(column: Column) -> str:
    if column.shape is not None:
        return f"{' × '.join(map(str, column.shape))} {column.dtype or ''}".strip()
    most_common = column.most_common or []
    return plain(", ".join(most_common[:3]) + (", …" if len(most_common) > 3 else ""))


# ---------------------------------------------------------------- jobs
def best_loss(metrics: Mapping[str, Any]) -> Any:
    """The loss to show where there is room for one: the validation's if there is one."""
    return metrics.get("validation_loss", metrics.get("train_loss"))


def jobs_table(jobs: Iterable[JobRecord]) -> Table:
    """One line a job."""
    table = _table("id", "name", "state", "progress", "loss", "age", right=("progress", "loss", "age"))
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
        "parameters_sha256": job.parameters_sha256,
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


def metrics_table(metrics: Sequence[Metric]) -> Table:
    """One line a measurement, one column a metric, in the order in which they first occur."""
    names = list(dict.fromkeys(name for metric in metrics for name in metric))
    table = _table(*names, right=names)
    for metric in metrics:
        table.add_row(*(number_text(metric.get(name)) for name in names))
    return table


def values_table(names: Sequence[str], lines: Iterable[Sequence[Any]]) -> Table:
    """Any values under their names."""
    table = _table(*map(plain, names))
    for line in lines:
        table.add_row(*map(number_text, line))
    return table


def history_table(history: Sequence[Move]) -> Table:
    """One line a move."""
    table = _table("when", "from", "to", "why")
    for move in history:
        before = move.from_
        table.add_row(
            move.when.isoformat(),
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
    at = "" if line.at is None else f"{line.at.astimezone():%Y-%m-%d %H:%M:%S} "
    attempt = f" (attempt {line.attempt})" if line.attempt > 1 else ""
    level = (f"{line.level:<7} ", LEVEL_STYLES.get(line.level, ""))
    return Text.assemble((at, "dim"), level, plain(line.message), (attempt, "dim"))
