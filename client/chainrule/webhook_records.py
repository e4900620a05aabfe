"""Webhooks and their deliveries, as typed objects."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from chainrule.records import Json, Record, time_of

__all__ = ["Delivery", "MadeWebhook", "Webhook"]


@dataclass(frozen=True, kw_only=True)
class Webhook(Record):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    labels: dict[str, str]
    description: str
    enabled: bool
    disabled_reason: str | None
    """Why it is disabled: by request, or as the receiver did not want it or failed for days."""
    failing_since: datetime | None
    """Since when every attempt has failed."""
    old_secret_until: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, json: Json) -> Self:
        times = ("failing_since", "old_secret_until", "created_at")
        return cls._of(json, **{name: time_of(json[name]) for name in times})


@dataclass(frozen=True, kw_only=True)
class MadeWebhook(Webhook):
    """A webhook that was just made, or given a new secret, which is told this once."""

    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Delivery(Record):
    """One event that is sent to one webhook, and how the last attempt at that went."""

    id: str
    event: str
    state: Literal["pending", "succeeded", "failed"]
    attempts: int
    attempted_at: datetime | None
    response_status: int | None
    duration_s: float | None
    error: str | None
    """What was wrong with the last attempt."""
    response_body: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    payload: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        times = ("attempted_at", "next_attempt_at", "created_at")
        return cls._of(json, **{name: time_of(json[name]) for name in times})
