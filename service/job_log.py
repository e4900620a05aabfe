"""A job's log: its events in words, and lines that are nothing else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.database import events
from service.jobs import JobState, cpus_said

__all__ = ["MOST_LINES", "Level", "Line", "keep_short", "lines_after", "lines_of"]

Level = Literal["info", "warning", "error"]

MOST_LINES = 10_000  # of type `log`; moves and changes of workers are few, and are kept
LOOKS_EVERY = 256  # events, at whether there are more
MOST_EPOCHS = 2_000  # that have a line; of more, every second, third, …

DROPPED = {"level": "warning", "source": "control_plane", "message": "older lines were dropped: there were too many"}
METRICS = {
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "validation_accuracy": "accuracy",
    "validation_rmse": "RMSE",
}


@dataclass(frozen=True)
class Line:
    """One line."""

    seq: int
    at: str | None
    level: Level
    source: str
    message: str
    attempt: int
    is_last: bool = False

    @property
    def json(self) -> dict[str, Any]:
        """As the API shows it."""
        return {name: value for name, value in asdict(self).items() if name != "is_last"}


def lines_after(connection: Connection, job: Row[Any], seq: int, limit: int) -> Sequence[Line]:
    """The lines of a job, given as its row, with a number above `seq`."""
    of_job = events.c.job_number == job.number
    before = sa.select(events.c.data).where(of_job, events.c.type == "state", events.c.seq <= seq)
    last_move = connection.scalar(before.order_by(events.c.seq.desc()).limit(1))
    every = job.steps_per_epoch * max(1, -(-job.epochs // MOST_EPOCHS))
    shown = sa.or_(events.c.type.in_(("state", "workers", "log")), events.c.step % every == 0)
    query = sa.select(events).where(of_job, events.c.seq > seq, shown)
    rows = connection.execute(query.order_by(events.c.seq).limit(limit)).all()
    return list(lines_of(rows, job.epochs, 1 if last_move is None else last_move["attempt"]))


def lines_of(rows: Iterable[Row[Any]], epochs: int, attempt: int) -> Iterator[Line]:
    """Events in words; `attempt` is that of the last move before them."""
    for row in rows:
        attempt = row.data["attempt"] if row.type == "state" else attempt
        level, source, message = _words(row.type, row.data, epochs)
        is_last = row.type == "state" and JobState(row.data["to"]).is_terminal
        yield Line(row.seq, row.at or row.data.get("at"), level, source, message, attempt, is_last)


def _words(kind: str, data: Mapping[str, Any], epochs: int) -> tuple[Level, str, str]:
    """Level, source and message of an event."""
    if kind == "state":
        return _move(data)
    if kind == "workers":
        message = f"computes on {cpus_said(data['workers'])} from step {data['step']:,} on: {data['why']}"
        return "warning" if data.get("lost") else "info", "coordinator", message
    if kind == "metrics":
        return "info", "coordinator", _epoch(data, epochs)
    return data["level"], data["source"], data["message"]


def _move(data: Mapping[str, Any]) -> tuple[Level, str, str]:
    before, to, why = data["from"], data["to"], data["reason"]
    if before == to:  # trouble, while it trains on
        return "warning", "coordinator", why
    level: Level = "info"
    if to == JobState.FAILED:
        level = "error"
    elif before == JobState.RUNNING and to == JobState.QUEUED:
        level = "warning"
    return level, "control_plane", f"{to}: {why}"


def _epoch(data: Mapping[str, Any], epochs: int) -> str:
    told = [f"{words} {data[name]:.6g}" for name, words in METRICS.items() if data.get(name) is not None]
    if data.get("samples_per_s") is not None:
        told.append(f"{data['samples_per_s']:,.0f} samples/s")
    return f"epoch {data['epoch']:,} of {epochs:,}: {', '.join(told)}"


def keep_short(connection: Connection, job: Row[Any], last: int) -> None:
    """Drops the oldest lines where there are too many, and says so in the place of the newest of them. `job` is as it
    was before the events up to number `last` were added; looked for only now and then."""
    if last // LOOKS_EVERY == job.last_event // LOOKS_EVERY:
        return
    lines = events.c.job_number == job.number, events.c.type == "log"
    newest = sa.select(events.c.seq).where(*lines).order_by(events.c.seq.desc())
    place = connection.scalar(newest.offset(MOST_LINES).limit(1))
    if place is not None:
        connection.execute(sa.delete(events).where(*lines, events.c.seq < place))
        connection.execute(sa.update(events).where(*lines, events.c.seq == place).values(data=DROPPED))
