"""What the service answers on tenants and their quotas, as typed objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from chainrule.records import Record

__all__ = ["Limits", "OwnQuota", "Tenant"]

Limits = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class OwnQuota(Record):
    """What one's own tenant may have, None for no limit, and what it has."""

    tenant: str
    limits: Limits
    """`running_jobs`, `cpus`, `queued_jobs`, `stored_bytes`, `submits_per_minute`, `max_priority`, `share`."""
    usage: Mapping[str, int]
    """`running_jobs`, `cpus`, `queued_jobs`, `stored_bytes`."""


@dataclass(frozen=True, kw_only=True)
class Tenant(Record):
    """A tenant: what was set for it (None: the service's default), what it may have because of that, what it has."""

    name: str
    created_at: datetime
    quota: Limits
    limits: Limits
    usage: Mapping[str, int]

    @classmethod
    def of(cls, json: Mapping[str, Any]) -> Self:
        return cls._of(json, created_at=datetime.fromisoformat(json["created_at"]))
