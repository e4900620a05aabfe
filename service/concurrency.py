"""Whose turn it is to have something computed, or to upload: a few requests of each tenant, so that it leaves threads,
connections and disk to the others; the rest wait, without a thread and before their bodies are read, or are refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import TooManyRequests

__all__ = ["ConcurrencyLimit"]

AT_ONCE = 4  # of the 40 threads that answer requests, and the 15 connections to the database
MAY_WAIT = 100
REFUSAL = (
    "{may_wait} requests of the tenant wait already for plans, predictions, evaluations, metrics, logs, previews, "
    "histograms or searches, of which {at_once} are computed at once; expected fewer"
)


class ConcurrencyLimit:
    """How many requests of each tenant are under way at once. Used by one thread, that of the event loop.

    Args:
        refusal: what those are told that are too many; may name `{at_once}` and `{may_wait}`.
        retry_after_s: when they may come again.
    """

    def __init__(
        self, at_once: int = AT_ONCE, may_wait: int = MAY_WAIT, refusal: str = REFUSAL, retry_after_s: int = 1
    ) -> None:
        self._at_once, self._may_wait = at_once, may_wait
        self._refusal, self._retry_after_s = refusal.format(at_once=at_once, may_wait=may_wait), retry_after_s
        self._here: Counter[str] = Counter()
        self._semaphores: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Waits for a turn of the tenant, and has it. Raises TooManyRequests where too many wait already."""
        if self._here[tenant] >= self._at_once + self._may_wait:
            raise TooManyRequests(self._refusal, self._retry_after_s)
        self._here[tenant] += 1
        try:
            async with self._semaphores.setdefault(tenant, asyncio.Semaphore(self._at_once)):
                yield
        finally:
            self._here[tenant] -= 1
            if not self._here[tenant]:
                del self._here[tenant], self._semaphores[tenant]
