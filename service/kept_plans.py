"""The plans of jobs for those who list them: a plan never changes, so those that were read last are kept."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.database import plans

__all__ = ["KeptPlans"]

MOST_BYTES = 8 << 20  # of what is kept, as JSON: some thousands of usual plans; as objects they take several times that
LARGEST_BYTES = 64 << 10  # of a plan that is kept

# A statement for those that are missing, of which there are mostly few.
READ = sa.select(plans.c.job_number, plans.c.plan).where(
    plans.c.job_number.in_(sa.bindparam("numbers", expanding=True))
)


class KeptPlans:
    """Plans by job, those used last: to read them and make objects of them is more than half of what a list takes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, tuple[Mapping[str, Any], int]] = OrderedDict()

    def of(self, connection: Connection, jobs: Sequence[Row[Any]]) -> Mapping[str, Mapping[str, Any]]:
        """The plans of jobs, by id; of one that was deleted meanwhile there is none. They are not to be changed."""
        found: dict[str, Mapping[str, Any]] = {}
        with self._lock:
            for job in jobs:
                if job.id in self._plans:
                    self._plans.move_to_end(job.id)
                    found[job.id] = self._plans[job.id][0]
        missing = {job.number: job for job in jobs if job.id not in found}
        if missing:
            read = [(missing[number], plan) for number, plan in connection.execute(READ, {"numbers": [*missing]})]
            found |= {job.id: plan for job, plan in read}
            with self._lock:
                for job, plan in read:
                    self._keep(job.id, plan, job.plan_bytes)
        return found

    def _keep(self, job_id: str, plan: Mapping[str, Any], size_bytes: int) -> None:
        if size_bytes > LARGEST_BYTES or job_id in self._plans:
            return
        self._plans[job_id] = plan, size_bytes
        self._bytes += size_bytes
        while self._bytes > self._most_bytes:
            _, (_, forgotten_bytes) = self._plans.popitem(last=False)
            self._bytes -= forgotten_bytes
