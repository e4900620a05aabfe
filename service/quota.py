"""What a tenant may have, and what it has."""

from dataclasses import dataclass, fields, replace
from typing import Any

from shared.plan import Plan

__all__ = ["Quota", "Usage", "model_bytes", "plan_bytes"]


@dataclass(frozen=True)
class Quota:
    """What a tenant may have at once; None for no limit. Of what is set for one tenant, None means the default."""

    running_jobs: int | None = None
    cpus: int | None = None
    """CPUs that its running jobs hold."""
    queued_jobs: int | None = None
    """Jobs that wait, first or again."""
    stored_bytes: int | None = None
    """Bytes of its data sets' tables, of its models, also of those to come, and of its jobs' plans."""
    submits_per_minute: int | None = None
    max_priority: int | None = None
    """The highest that a job may be submitted with."""
    share: float = 1.0
    """How many times the CPUs of others it gets while others wait too."""

    @classmethod
    def of(cls, row: Any) -> "Quota":
        """What is set in a tenant's row."""
        set_ = {each.name: getattr(row, each.name) for each in fields(cls)}
        return cls(**{name: value for name, value in set_.items() if value is not None})

    def over(self, default: "Quota") -> "Quota":
        """What is in effect where this is set."""
        limits = [each.name for each in fields(self) if each.name != "share"]
        return replace(self, **{name: getattr(default, name) for name in limits if getattr(self, name) is None})


@dataclass(frozen=True)
class Usage:
    """What a tenant has now."""

    running_jobs: int
    cpus: int
    queued_jobs: int
    stored_bytes: int


def model_bytes(parameters: int, dtype: str) -> int:
    """What a model of so many numbers counts for."""
    return parameters * (8 if dtype == "float64" else 4)


def plan_bytes(plan: Plan) -> int:
    """What a job's plan counts for: the names of all features are in it, and the parameters that it begins with."""
    return len(plan.model_dump_json().encode())
