"""How fast jobs may be submitted: tokens for each key and each tenant, counted in this process alone.

A key has `burst` tokens, a tenant as many as it may submit a minute; both are filled up at the rate of the tenant's
quota. Each submit takes one of both, but not the repetition of one that was let through a while ago.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from shared.errors import TooManyRequests

__all__ = ["Pace"]

MOST = 10_000  # keys, and repetitions, that are remembered

Key = TypeVar("Key")
Value = TypeVar("Value")


class Bucket:
    """Tokens that are taken one by one, and come back at a steady rate."""

    def __init__(self, capacity: float, now: float) -> None:
        self._tokens, self._counted_at = capacity, now

    def missing_s(self, capacity: float, per_s: float, now: float) -> float:
        """After how many seconds there is a token; 0 where there is one."""
        self._tokens = min(capacity, self._tokens + (now - self._counted_at) * per_s)
        self._counted_at = now
        return max(0.0, (1.0 - self._tokens) / per_s)

    def take(self) -> None:
        """Takes one that is there."""
        self._tokens -= 1.0


class Pace:
    """Lets submits through, or says when to come again. Used by one thread, that of the event loop."""

    def __init__(self, burst: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._monotonic = burst, monotonic
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def let_through(self, tenant: str, key_id: str, per_minute: int | None, idempotency_key: str | None) -> None:
        """Counts a submit. Raises TooManyRequests, and counts nothing, where it comes too soon."""
        if per_minute is None or self._is_repeated(tenant, idempotency_key):
            return
        now, per_s = self._monotonic(), per_minute / 60
        whose = {key_id: min(self._burst, per_minute), f"tenant {tenant}": per_minute}
        buckets = [(self._bucket(name, capacity, now), capacity) for name, capacity in whose.items()]
        missing_s = max(bucket.missing_s(capacity, per_s, now) for bucket, capacity in buckets)
        if missing_s > 0:
            raise TooManyRequests(
                f"jobs are submitted too fast: the tenant may submit {per_minute:,} a minute, and a key "
                f"{self._burst:,} at once",
                math.ceil(missing_s),
            )
        for bucket, _ in buckets:
            bucket.take()
        if idempotency_key is not None:
            _remember(self._seen, (tenant, idempotency_key), None)

    def _is_repeated(self, tenant: str, idempotency_key: str | None) -> bool:
        return idempotency_key is not None and (tenant, idempotency_key) in self._seen

    def _bucket(self, name: str, capacity: float, now: float) -> Bucket:
        if name in self._buckets:
            self._buckets.move_to_end(name)  # who is forgotten is who has not submitted for the longest time
            return self._buckets[name]
        return _remember(self._buckets, name, Bucket(capacity, now))


def _remember(known: "OrderedDict[Key, Value]", key: Key, value: Value) -> Value:
    """Keeps the newest."""
    known[key] = value
    if len(known) > MOST:
        known.popitem(last=False)
    return value
