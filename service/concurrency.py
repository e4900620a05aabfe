"""Whose turn it is to have something computed, or to upload: a few requests of each tenant, so that it leaves threads,
connections and disk to the others; the rest wait, without a thread, or are refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from shared.errors import TooManyRequests

__all__ = ["ConcurrencyLimit", "waiting_for"]

AT_ONCE = 4  # of the 40 threads that answer requests, and the 15 connections to the database
MAY_WAIT = 100
COMPUTED = "plans, predictions, evaluations, metrics, logs, previews, histograms or searches"


def waiting_for(what: str) -> str:
    """What those are told that are too many, where some may wait."""
    return (
        f"{{may_wait}} requests of the tenant wait already for {what}, of which {{at_once}} are computed at once; "
        "expected fewer"
    )


class ConcurrencyLimit:
    """How many requests of each tenant are under way at once. Used by one thread, that of the event loop.

    Args:
        may_wait: how many of a tenant; any number where that is None.
        refusal: what those are told that are too many; may name `{at_once}` and `{may_wait}`.
        retry_after_s: when they may come again.
    """

    def __init__(
        self,
        at_once: int = AT_ONCE,
        may_wait: int | None = MAY_WAIT,
        refusal: str = waiting_for(COMPUTED),
        retry_after_s: int = 1,
    ) -> None:
        self._at_once, self._may_wait, self._retry_after_s = at_once, may_wait, retry_after_s
        self._refusal = refusal.format(at_once=at_once, may_wait=may_wait)
        self._here: Counter[Hashable] = Counter()
        self._semaphores: dict[Hashable, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def of(self, tenant: Hashable) -> AsyncIterator[None]:
        """Waits for a turn of the tenant, and has it. Raises TooManyRequests where too many wait already."""
        if self._may_wait is not None and self._here[tenant] >= self._at_once + self._may_wait:
            raise TooManyRequests(self._refusal, self._retry_after_s)
        self._here[tenant] += 1
        try:
            async with self._semaphores.setdefault(tenant, asyncio.Semaphore(self._at_once)):
                yield
        finally:
            self._here[tenant] -= 1
            if not self._here[tenant]:
                del self._here[tenant], self._semaphores[tenant]
