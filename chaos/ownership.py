"""Whose a job is, as the database of several control planes tells."""

from typing import NamedTuple

import psycopg

__all__ = ["Owned", "control_planes", "owned"]


class Owned(NamedTuple):
    """Who has a job. The epoch counts up when another control plane takes it, the attempt when it is started anew."""

    owner: str | None
    """The id of a control plane; None where the job does not run."""
    epoch: int
    attempt: int


def owned(connection: psycopg.Connection, job_id: str) -> Owned:
    """Whose that job is now."""
    row = connection.execute("SELECT owner, epoch, attempt FROM jobs WHERE id = %s", [job_id]).fetchone()
    assert row is not None, "it was acknowledged"
    return Owned(*row)


def control_planes(connection: psycopg.Connection) -> set[str]:
    """The ids of those that have said that they are alive, and of some that are gone: another one at each start."""
    return {control_plane_id for (control_plane_id,) in connection.execute("SELECT id FROM control_planes")}
