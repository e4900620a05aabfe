"""The control plane as the owner of running jobs, in the database that several of them may share."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, exc
from ulid import ULID

from service.database import Database, DatabaseTime, control_planes, jobs
from service.jobs import JobState, Requested
from service.leases import LEASE_S, Lease

__all__ = ["NOBODY", "Asked", "Held", "Owner"]

Held = tuple[str, int]
"""A job that runs here: its id, and the epoch at which this control plane has it."""


class Asked(NamedTuple):
    """What was asked of a running job, at whichever control plane."""

    requested: Requested
    """By a user."""
    preempted_by: str | None
    """Whom it is to give way to, in words."""
    cpus_wanted: int
    """How many it is to compute on."""


HELD = jobs.c.id, jobs.c.epoch, *(jobs.c[name] for name in Asked._fields)

NOBODY: dict[str, Any] = {"owner": None, "lease_until": None, "cpus_wanted": None, "cpus_held": None}
"""The columns of a job that nobody owns, as it does not run."""


class Owner:
    """One control plane, from its start to its end. Every statement goes by `time`, the database's clock by default."""

    def __init__(self, database: Database, time: ColumnElement[float] | None = None) -> None:
        self.id = f"cp_{ULID()}"
        """Another one each time that the service starts."""
        self._database = database
        self._time: ColumnElement[float] = DatabaseTime() if time is None else time
        self._leases = (  # made once, as to make a statement takes longer than to have it answered
            sa.select(
                jobs.c.id.label("job_id"),
                *(jobs.c[name] for name in ("attempt", "workers", "epoch", "lease_until")),
                (jobs.c.lease_until - self._time).label("remaining_s"),
            )
            .where(jobs.c.state == JobState.RUNNING, jobs.c.id.not_in(sa.bindparam("without", expanding=True)))
            .order_by(jobs.c.number)
        )

    def of_lease(self) -> dict[str, Any]:
        """The columns of a job that this control plane takes."""
        return {"owner": self.id, "lease_until": self._time + LEASE_S}

    def of_start(self, cpus: int) -> dict[str, Any]:
        """Likewise, of one that is given so many CPUs."""
        return {**self.of_lease(), "cpus_wanted": cpus, "cpus_held": cpus}

    def claim(self, lease: Lease) -> int | None:
        """Takes a running job whose lease is still as given, and fences its owner before.

        A growth that has not come about is none any more: the CPUs for it may be gone, and whoever waited for it is.
        What the job needs at least it holds, also while a worker is missing. Returns the new epoch, or None when the
        lease was renewed, taken or given back meanwhile.
        """
        most = sa.case((jobs.c.workers < jobs.c.cpus_min, jobs.c.cpus_min), else_=jobs.c.workers)
        wanted = sa.case((jobs.c.cpus_wanted < most, jobs.c.cpus_wanted), else_=most)
        held = sa.func.coalesce(jobs.c.cpus_held, jobs.c.workers)
        seen = jobs.c.epoch == lease.epoch, jobs.c.lease_until == lease.lease_until
        claimed = (
            sa.update(jobs)
            .where(jobs.c.id == lease.job_id, jobs.c.state == JobState.RUNNING, *seen)
            .values(epoch=jobs.c.epoch + 1, cpus_wanted=wanted, cpus_held=held, **self.of_lease())
        )
        with self._database.writing() as connection:
            epoch: int | None = connection.scalar(claimed.returning(jobs.c.epoch))
        return epoch

    def give_back(self, job_id: str, epoch: int) -> None:
        """Ends the lease on a job that runs on though this control plane does not: the next one may take it."""
        held = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.epoch == epoch, jobs.c.state == JobState.RUNNING)
        with self._database.writing() as connection:
            connection.execute(held.values(lease_until=self._time))

    def renew(self, held: Collection[Held]) -> tuple[dict[Held, Asked], bool]:
        """Renews the leases on the jobs that are held, and says that this control plane is alive.

        Returns those that still are, each with what was asked for of it, and whether no other control plane is alive.
        """
        try:
            return self._renew(held)
        except exc.IntegrityError:  # another thread of ours was the first to say that we are alive, just now
            return self._renew(held)

    def _renew(self, held: Collection[Held]) -> tuple[dict[Held, Asked], bool]:
        until = self._time + LEASE_S
        renewed = sa.update(jobs).where(_holds(held)).values(lease_until=until).returning(*HELD)
        with self._database.writing() as connection:
            self._say_alive(connection, until)
            rows = connection.execute(renewed).all()
            remaining = control_planes.c.lease_until - self._time
            # More is left only to one that died before the clock was set back: who lives has renewed since.
            alive = control_planes.c.id != self.id, remaining > 0, remaining <= LEASE_S
            others = sa.select(control_planes.c.id).where(*alive)
            alone = connection.execute(others.limit(1)).first() is None
        return _asked(rows), alone

    def _say_alive(self, connection: Connection, until: ColumnElement[float]) -> None:
        said = sa.update(control_planes).where(control_planes.c.id == self.id).values(lease_until=until)
        if connection.execute(said).rowcount == 0:
            connection.execute(sa.delete(control_planes).where(control_planes.c.lease_until < self._time))
            connection.execute(sa.insert(control_planes).values(id=self.id, lease_until=until))

    def leave(self) -> None:
        """Says that this control plane is no longer alive."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(control_planes).where(control_planes.c.id == self.id))

    def asked(self, held: Collection[Held]) -> dict[Held, Asked]:
        """What was asked for of each job that is still held."""
        with self._database.reading() as connection:
            return _asked(connection.execute(sa.select(*HELD).where(_holds(held))).all())

    def leases(self, without: Collection[str] = ()) -> Sequence[Lease]:
        """The leases of all running jobs but those."""
        with self._database.reading() as connection:
            found = connection.execute(self._leases, {"without": [*without]})
            return [Lease(**row._mapping) for row in found]

    def scheduling(self) -> AbstractContextManager[Callable[[], object]]:
        """Keeps the other control planes from giving out CPUs meanwhile, as `Database.scheduling` says."""
        return self._database.scheduling()


def _holds(held: Collection[Held]) -> ColumnElement[bool]:
    return sa.and_(jobs.c.state == JobState.RUNNING, sa.tuple_(jobs.c.id, jobs.c.epoch).in_(list(held)))


def _asked(rows: Iterable[Any]) -> dict[Held, Asked]:
    return {(job_id, epoch): Asked(*asked) for job_id, epoch, *asked in rows}
