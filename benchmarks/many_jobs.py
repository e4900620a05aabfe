"""Fills a service's database with as many jobs as a team has after years, in a few statements."""

from typing import Any

import sqlalchemy as sa

from service.database import Database, events, job_labels, jobs, plans
from service.jobs import JobState

__all__ = ["LABELS", "STATES", "fill"]

STATES = (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
LABELS = 20  # values of the label `team`, each of one job of so many


def fill(url: str, like: str, up_to: int, queued: int, cpus: int = 10_000) -> None:
    """Adds copies of the job `like`, which has ended, with its events and a label, until there are `up_to` jobs.

    Of the new ones, the newest `queued` wait for so many CPUs, by default more than any cluster has; the others have
    ended as STATES says, by turns.
    """
    database = Database(url)
    with database.writing() as connection:
        kind = connection.dialect.name
        one = connection.execute(sa.select(jobs).where(jobs.c.id == like)).one()
        last: int = connection.scalar(sa.select(sa.func.max(jobs.c.number))) or 0
        count: int = connection.scalar(sa.select(sa.func.count()).select_from(jobs)) or 0
        first, end = last + 1, last + up_to - count
        numbers = _numbers(first, end)
        waits = numbers.c.n > end - queued
        changed = _changed(numbers.c.n, waits, kind, cpus)
        names = [column.name for column in jobs.c if column.computed is None]
        copied = sa.select(*(changed.get(name, jobs.c[name]) for name in names)).where(jobs.c.number == one.number)
        connection.execute(sa.insert(jobs).from_select(names, copied.join_from(jobs, numbers, sa.true())))
        plan = sa.select(numbers.c.n, plans.c.plan).join_from(plans, numbers, sa.true())
        of_one = plan.where(plans.c.job_number == one.number)
        connection.execute(sa.insert(plans).from_select(["job_number", "plan"], of_one))
        of_events = [column.name for column in events.c]
        rows = sa.select(*(numbers.c.n if name == "job_number" else events.c[name] for name in of_events))
        own = sa.or_(sa.not_(waits), events.c.seq == 1)
        told = rows.join_from(events, numbers, sa.true()).where(events.c.job_number == one.number, own)
        connection.execute(sa.insert(events).from_select(of_events, told))
        team = sa.literal("team ") + sa.cast(numbers.c.n % LABELS, sa.String)
        labels = sa.select(numbers.c.n, sa.literal("team"), team)
        connection.execute(sa.insert(job_labels).from_select(["job_number", "key", "value"], labels))
        if kind == "postgresql":
            sequence = sa.func.pg_get_serial_sequence("jobs", "number")
            connection.execute(sa.select(sa.func.setval(sequence, end)))
    with database.writing() as connection:
        connection.execute(sa.text("ANALYZE"))  # PostgreSQL does so by itself, a minute later
    database.close()


def _numbers(first: int, last: int) -> sa.CTE:
    found = sa.select(sa.literal(first).label("n")).cte("numbers", recursive=True)
    return found.union_all(sa.select(found.c.n + 1).where(found.c.n < last))


def _changed(number: Any, waits: Any, kind: str, cpus: int) -> dict[str, Any]:
    """The columns in which a copy differs."""
    digits = sa.cast(number, sa.String)
    padded = sa.func.lpad(digits, 26, "0") if kind == "postgresql" else sa.func.printf("%026d", number)
    state = sa.case(
        *((number % len(STATES) == place, state) for place, state in enumerate(STATES[:-1])), else_=STATES[-1]
    )

    def unless_waits(column: sa.Column[Any], otherwise: Any = None) -> Any:
        return sa.case((waits, otherwise), else_=column)

    return {
        "number": number,
        "id": sa.literal("job_") + padded,
        "name": sa.literal("job ") + digits,
        "state": sa.case((waits, JobState.QUEUED), else_=state),
        "cpus_min": sa.case((waits, cpus), else_=jobs.c.cpus_min),
        "cpus_max": sa.case((waits, cpus), else_=jobs.c.cpus_max),
        "last_event": unless_waits(jobs.c.last_event, 1),
        "started_at": unless_waits(jobs.c.started_at),
        "finished_at": unless_waits(jobs.c.finished_at),
        "parameters_sha256": unless_waits(jobs.c.parameters_sha256),
        "model_bytes": unless_waits(jobs.c.model_bytes, 0),
    }
