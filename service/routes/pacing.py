"""The parameters of a submit, and its pace."""

import re
from typing import Annotated

from fastapi import Header, Query
from fastapi.concurrency import run_in_threadpool

from service.control import ControlPlane
from service.keys import Principal
from service.routes.parameters import like
from shared.errors import TooManyRequests

__all__ = ["KEY", "IdempotencyKey", "IsDryRun", "too_fast"]

IsDryRun = Annotated[bool, Query(description="Only validate and plan: nothing is queued.")]
KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")  # HTTP takes spaces around a header's value for none of it
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="1 to 255 printable characters: the same key and spec again give the same job.",
        json_schema_extra=like(KEY.pattern),
    ),
]


async def too_fast(control: ControlPlane, who: Principal, idempotency_key: str | None) -> TooManyRequests | None:
    """Counts a submit, before its body is read. What it is to be refused with unless an earlier one, just like it, has
    made its job; raised at once where there is none with its key."""
    tenants = control.tenants
    quotas = tenants.remembered()
    if quotas is None:
        quotas = await run_in_threadpool(tenants.quotas)
    per_minute = quotas.get(who.tenant, tenants.default).submits_per_minute
    try:
        control.pace.let_through(who.tenant, who.key_id, per_minute)
    except TooManyRequests as refused:
        if idempotency_key is None:
            raise
        if not await run_in_threadpool(control.store.knows, who.tenant, idempotency_key):
            raise
        return refused
    return None
