"""How long a job may wait, whatever clocks are set to meanwhile."""

import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Connection

from service.clock import since_1970
from service.database import DatabaseTime

__all__ = ["Patience"]


def _told(connection: Connection) -> float:
    """Seconds since 1970 by the database's clock, which all control planes share."""
    present: float = connection.scalar(sa.select(DatabaseTime())) or 0.0
    return present


class Patience:
    """Says until when a job waits, and what time it is for those who wait, by two clocks: the database's, and this
    process's own time since it last began to count. A job waits until both say so, by the one that was ahead when it
    came. So no clock that is set cuts anybody short, though some wait longer then; nor does a machine that slept."""

    def __init__(
        self, told: Callable[[Connection], float] = _told, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._told, self._monotonic = told, monotonic
        self._ahead_s: float | None = None  # of this process's own time, when it began to count

    def until(self, connection: Connection, max_wait_s: float) -> str:
        """When a job that comes now has waited for so long."""
        return since_1970(max(self._look(connection)) + max_wait_s)

    def now(self, connection: Connection) -> str:
        """Who was to wait until then, or less, has waited too long."""
        return since_1970(min(self._look(connection)))

    def begin(self, connection: Connection) -> None:
        """Counts from what the database tells now, as nobody waits: how its clock was set before is no matter then."""
        self._ahead_s = self._told(connection) - self._monotonic()

    def _look(self, connection: Connection) -> tuple[float, float]:
        """What time it is, by the database and by this process."""
        told, own = self._told(connection), self._monotonic()
        if self._ahead_s is None:
            self._ahead_s = told - own
        return told, self._ahead_s + own
