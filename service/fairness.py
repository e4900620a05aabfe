"""Tenants that share a cluster: whose turn it is, and how much each may have.

By priority first. Of equal priority the tenant is next that has the fewest CPUs for its share; of those that have as
many the one that was served longest ago, so that tenants take turns also where one job at a time fills the cluster; of
one tenant's jobs the oldest. Whoever waits while CPUs are kept free for it has a place of its own before all those, so
that no stream of small jobs, of whomever, passes a large one for ever.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.jobs import cpus_said
from service.quota import Quota

if TYPE_CHECKING:
    from service.allocation import Running, Waiting

__all__ = ["Allowances", "InUse", "Sharing", "Turns"]

NOT_RESERVED = "~"  # after every time


@dataclass(frozen=True)
class InUse:
    """What a tenant has of the cluster: its running jobs, and the CPUs that they hold."""

    jobs: int = 0
    cpus: int = 0

    def __add__(self, other: "InUse") -> "InUse":
        return InUse(self.jobs + other.jobs, self.cpus + other.cpus)


NO_LIMITS = Quota()


@dataclass(frozen=True)
class Sharing:
    """The quotas of those who share the cluster."""

    quotas: Mapping[str, Quota] = field(default_factory=dict)

    def quota_of(self, tenant: str) -> Quota:
        return self.quotas.get(tenant, NO_LIMITS)

    def most(self, cpus: int) -> dict[str, int]:
        """How many of so many CPUs each tenant may ever have, of those that may not have all."""
        quotas = {tenant: quota.cpus for tenant, quota in self.quotas.items()}
        return {tenant: most for tenant, most in quotas.items() if most is not None and most < cpus}

    def in_use(self, running: Sequence["Running"]) -> dict[str, InUse]:
        """What each has."""
        found: dict[str, InUse] = defaultdict(InUse)
        for job in running:
            found[job.tenant] += InUse(1, job.cpus)
        return found

    def at_limit(self, in_use: Mapping[str, InUse]) -> set[str]:
        """Those that can have nothing more now, whatever they ask for."""

        def is_reached(limit: int | None, has: int) -> bool:
            return limit is not None and has >= limit

        has = {tenant: in_use.get(tenant, InUse()) for tenant in self.quotas}
        return {
            tenant
            for tenant, quota in self.quotas.items()
            if is_reached(quota.running_jobs, has[tenant].jobs) or is_reached(quota.cpus, has[tenant].cpus)
        }


class Turns:
    """Jobs that wait, each when it is its turn, by what their tenants have then: `count` says so of each in between."""

    def __init__(self, waiting: Sequence["Waiting"], sharing: Sharing, in_use: Mapping[str, InUse]) -> None:
        self._sharing = sharing
        self._cpus = {tenant: has.cpus for tenant, has in in_use.items()}
        self._lines: dict[str, deque[Waiting]] = defaultdict(deque)
        for job in sorted(waiting, key=lambda job: (-job.priority, job.reserved_at or NOT_RESERVED, job.age)):
            self._lines[job.tenant].append(job)

    def __iter__(self) -> Iterator["Waiting"]:
        heads = [self._head(tenant) for tenant in self._lines]
        heapq.heapify(heads)
        while heads:
            tenant = heads[0][-1]
            yield self._lines[tenant].popleft()
            if self._lines[tenant]:
                heapq.heapreplace(heads, self._head(tenant))
            else:
                heapq.heappop(heads)

    def count(self, job: "Waiting", cpus: int) -> None:
        """Its tenant has been given so many CPUs for it, or will be before those behind it."""
        self._cpus[job.tenant] = self._cpus.get(job.tenant, 0) + cpus

    def _head(self, tenant: str) -> tuple[Any, ...]:
        job = self._lines[tenant][0]
        cpus_a_share = self._cpus.get(tenant, 0) / self._sharing.quota_of(tenant).share
        return -job.priority, job.reserved_at or NOT_RESERVED, cpus_a_share, job.served_at or "", job.age, tenant


class Allowances:
    """How much more each tenant may have."""

    def __init__(self, sharing: Sharing, in_use: Mapping[str, InUse]) -> None:
        self._sharing, self._in_use = sharing, dict(in_use)

    def can_ever(self, job: "Waiting") -> bool:
        """Whether the job would be within the quota of a tenant that has nothing."""
        quota = self._sharing.quota_of(job.tenant)
        return quota.cpus is None or job.cpus_min <= quota.cpus

    def why_not(self, job: "Waiting") -> str | None:
        """Why its tenant's quota keeps a job from starting, in words; None where it does not."""
        quota, has = self._sharing.quota_of(job.tenant), self._in_use.get(job.tenant, InUse())
        if not self.can_ever(job):
            return f"needs {cpus_said(job.cpus_min)} at once; its tenant's quota is {quota.cpus}"
        if quota.running_jobs is not None and has.jobs >= quota.running_jobs:
            run = "1 runs" if has.jobs == 1 else f"{has.jobs} run"
            return f"waits until fewer of its tenant's jobs run: {run}, the quota is {quota.running_jobs}"
        if quota.cpus is not None and has.cpus + job.cpus_min > quota.cpus:
            used = f"{has.cpus} of its tenant's quota of {cpus_said(quota.cpus)}"
            return f"waits until its tenant uses fewer CPUs: needs {job.cpus_min}, {used} in use"
        return None

    def most(self, tenant: str, cpus: int) -> int:
        """How many of so many CPUs it may have besides what it has."""
        limit = self._sharing.quota_of(tenant).cpus
        return cpus if limit is None else max(0, min(cpus, limit - self._in_use.get(tenant, InUse()).cpus))

    def take(self, tenant: str, cpus: int, jobs: int = 0) -> None:
        """So much is given to it."""
        self._in_use[tenant] = self._in_use.get(tenant, InUse()) + InUse(jobs, cpus)
