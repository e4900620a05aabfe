"""What the API takes and answers on tenants and their quotas, every field described."""

from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.quota import Quota, Usage
from service.tenants import TenantRow
from service.views import NextCursor, Time, View
from shared.spec import HIGHEST_PRIORITY, LOWEST_PRIORITY

__all__ = ["OwnQuota", "QuotaRequest", "Tenant", "TenantPage"]

MOST = 2**53 - 1  # what JSON numbers hold exactly everywhere

Limit = Annotated[int | None, Field(ge=0, le=MOST, examples=[8])]


class QuotaRequest(BaseModel):
    """All of a tenant's quota. What is left out, or null, is the service's default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    running_jobs: Limit = None
    """Jobs that may run at once; further ones wait, and those of other tenants pass them."""
    cpus: Limit = None
    """CPUs that running jobs may hold; further ones wait."""
    queued_jobs: Limit = None
    """Jobs that may wait; further ones are refused with 409."""
    stored_bytes: Limit = None
    """Bytes of data sets, as tables on disk, of models, and of jobs' plans. Beyond them uploads are refused with 413,
    while they stream or when their tables are made, and jobs with 409."""
    submits_per_minute: Annotated[int | None, Field(ge=1, le=MOST, examples=[600])] = None
    """Jobs that may be submitted a minute, at each control plane; further ones are refused with 429."""
    max_priority: Annotated[int | None, Field(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, examples=[0])] = None
    """The highest priority of jobs; a submit with a higher one is refused with 422. Jobs that are there keep theirs."""
    share: Annotated[float | None, Field(gt=0, le=1_000_000, examples=[2.0])] = None
    """How many times the CPUs of other tenants its jobs get while others of the same priority wait; 1 by default."""


class Limits(View):
    """What a tenant may have; null for no limit."""

    running_jobs: Annotated[int | None, Field(examples=[None])]
    """Jobs that may run at once."""
    cpus: Annotated[int | None, Field(examples=[8])]
    """CPUs that running jobs may hold."""
    queued_jobs: Annotated[int | None, Field(examples=[100_000])]
    """Jobs that may wait."""
    stored_bytes: Annotated[int | None, Field(examples=[50_000_000_000])]
    """Bytes of data sets, as tables on disk, of models, and of jobs' plans."""
    submits_per_minute: Annotated[int | None, Field(examples=[3_000])]
    """Jobs that may be submitted a minute, at each control plane."""
    max_priority: Annotated[int | None, Field(examples=[0])]
    """The highest priority that a job may be submitted with."""
    share: Annotated[float, Field(examples=[1.0])]
    """How many times the CPUs of other tenants it gets while others wait."""

    @classmethod
    def of(cls, quota: Quota) -> "Limits":
        """What is in effect."""
        return cls(**asdict(quota))


class Used(View):
    """What a tenant has now."""

    running_jobs: Annotated[int, Field(examples=[1])]
    """Jobs that run."""
    cpus: Annotated[int, Field(examples=[2])]
    """CPUs that they compute on."""
    queued_jobs: Annotated[int, Field(examples=[3])]
    """Jobs that wait for CPUs."""
    stored_bytes: Annotated[int, Field(examples=[3_566_788])]
    """Bytes of data sets, as tables on disk, of models, and of jobs' plans."""

    @classmethod
    def of(cls, usage: Usage) -> "Used":
        """What was counted."""
        return cls(**asdict(usage))


class OwnQuota(View):
    """What one's own tenant may have, and what it has."""

    tenant: Annotated[str, Field(examples=["risk"])]
    """Its name."""
    limits: Limits
    """What it may have."""
    usage: Used
    """What it has now."""


class Tenant(View):
    """A tenant: whose jobs and data sets a key opens."""

    name: Annotated[str, Field(examples=["risk"])]
    """Its name."""
    created_at: Time
    """When its first key was made."""
    quota: QuotaRequest
    """What was set for it; null where it has the service's default."""
    limits: Limits
    """What it may have because of that."""
    usage: Used
    """What it has now."""

    @classmethod
    def of(cls, tenant: TenantRow, limits: Quota, usage: Usage) -> "Tenant":
        """From the tenant's row in the database."""
        set_ = {name: getattr(tenant, name) for name in QuotaRequest.model_fields}
        told = {"name": tenant.name, "created_at": tenant.created_at, "quota": QuotaRequest(**set_)}
        return cls(**told, limits=Limits.of(limits), usage=Used.of(usage))


class TenantPage(View):
    """Tenants, by name."""

    items: list[Tenant]
    """One page of them."""
    next_cursor: NextCursor
