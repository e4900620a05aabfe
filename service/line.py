"""The place of every job that waits, however many do: pure, and found without going through those before it.

The order is that of `service.fairness.Turns`. Of equal priority a tenant's jobs come up one after the other, each when
the tenant has, for its share, as few CPUs as any other: those that it has now, and those that its jobs before this one
need. That number only grows along a tenant's jobs, so how many of another one's come before is found by bisection.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple

from service.fairness import InUse, Sharing

__all__ = ["Line", "Reserved", "Waits"]


class Waits(NamedTuple):
    """A job that waits."""

    tenant: str
    priority: int
    number: int
    cpus_min: int


class Reserved(NamedTuple):
    """One for which CPUs are kept free, which therefore has a place of its own."""

    tenant: str
    priority: int
    number: int
    reserved_at: str


@dataclass(frozen=True)
class _Part:
    """The jobs of one tenant and one priority, and the CPUs that it has, or will have, when each comes up."""

    numbers: Sequence[int] = ()
    cpus: Sequence[int] = ()
    """One more than there are jobs: the last is for one that comes after all."""


@dataclass(frozen=True)
class Line:
    """All jobs that wait, as they were a moment ago."""

    parts: Mapping[int, Mapping[str, _Part]] = field(default_factory=dict)
    """By priority and tenant."""
    sharing: Sharing = field(default_factory=Sharing)
    served: Mapping[str, str] = field(default_factory=dict)
    """When a job of each tenant was last given CPUs."""
    reserved: Sequence[Reserved] = ()

    @classmethod
    def of(
        cls,
        waiting: Iterable[Waits],
        in_use: Mapping[str, InUse],
        sharing: Sharing,
        served: Mapping[str, str],
        reserved: Sequence[Reserved] = (),
    ) -> "Line":
        """Of jobs in the order of tenant, then of priority, the highest first, then of number."""
        parts: dict[int, dict[str, _Part]] = defaultdict(dict)
        has = {tenant: each.cpus for tenant, each in in_use.items()}
        for (tenant, priority), group in groupby(waiting, key=itemgetter(0, 1)):
            jobs = list(group)
            cpus = list(accumulate((job[3] for job in jobs), initial=has.get(tenant, 0)))
            has[tenant] = cpus[-1]
            parts[priority][tenant] = _Part([job[2] for job in jobs], cpus)
        return cls(parts, sharing, served, sorted(reserved, key=lambda job: job.reserved_at))

    def place(self, tenant: str, priority: int, number: int) -> int:
        """How many are served before the job, and 1. It need not be in the line yet."""
        higher = sum(count for at, count in self._counts.items() if at > priority)
        if not self.reserved:
            return higher + self._before(tenant, priority, number) + 1
        kept = [job for job in self.reserved if job.priority == priority]
        own = next((index for index, job in enumerate(kept) if job.number == number), None)
        if own is not None:
            return higher + own + 1
        before = self._before(tenant, priority, number)
        passed_by = sum(self._before(job.tenant, priority, job.number) >= before for job in kept)
        return higher + before + passed_by + 1

    @cached_property
    def _counts(self) -> Mapping[int, int]:
        """How many jobs there are of each priority."""
        return {at: sum(len(part.numbers) for part in parts.values()) for at, parts in self.parts.items()}

    def _before(self, tenant: str, priority: int, number: int) -> int:
        """How many of the same priority come before the job, places that are kept aside."""
        parts = self.parts.get(priority, {})
        own = parts.get(tenant, _Part())
        rank = bisect_left(own.numbers, number)
        cpus = own.cpus[rank] if own.cpus else 0
        has = cpus / self.sharing.quota_of(tenant).share
        return rank + sum(
            self._until(other, part, has, (self.served.get(tenant, ""), number))
            for other, part in parts.items()
            if other != tenant
        )

    def _until(self, tenant: str, part: _Part, has: float, served: tuple[str, int]) -> int:
        """How many of a tenant's jobs come up before another one's, which has so many CPUs for its share then."""
        limit = has * self.sharing.quota_of(tenant).share
        fewer = bisect_left(part.cpus, limit, hi=len(part.numbers))
        as_many = bisect_right(part.cpus, limit, hi=len(part.numbers))
        if fewer == as_many or (self.served.get(tenant, ""), part.numbers[fewer]) > served:
            return fewer
        return as_many
