"""How fast jobs may be submitted: tokens for each key and each tenant, counted in this process alone.

A key has `burst` tokens, a tenant as many as it may submit a minute; both are filled up at the rate of the tenant's
quota. Each submit takes one of both; a repetition, of which the job is there, is given it back.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from shared.errors import TooManyRequests

__all__ = ["Pace"]

MOST = 10_000  # keys and tenants that are remembered


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

    def give(self) -> None:
        """Gives one back; what is more than there may be is not counted."""
        self._tokens += 1.0


class Pace:
    """Lets submits through, or says when to come again. Used by one thread, that of the event loop."""

    def __init__(self, burst: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._monotonic = burst, monotonic
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def let_through(self, tenant: str, key_id: str, per_minute: int | None) -> None:
        """Counts a submit. Raises TooManyRequests, and counts nothing, where it comes too soon."""
        if per_minute is None:
            return
        now, per_s = self._monotonic(), per_minute / 60
        capacities = min(self._burst, per_minute), per_minute
        whose = zip(_names(tenant, key_id), capacities, strict=True)
        buckets = [(self._bucket(name, capacity, now), capacity) for name, capacity in whose]
        missing_s = max(bucket.missing_s(capacity, per_s, now) for bucket, capacity in buckets)
        if missing_s > 0:
            raise TooManyRequests(
                f"jobs are submitted too fast: the tenant may submit {per_minute:,} a minute, and a key "
                f"{self._burst:,} at once",
                math.ceil(missing_s),
            )
        for bucket, _ in buckets:
            bucket.take()

    def give_back(self, tenant: str, key_id: str) -> None:
        """What was counted was a repetition."""
        for name in _names(tenant, key_id):
            if name in self._buckets:
                self._buckets[name].give()

    def _bucket(self, name: str, capacity: float, now: float) -> Bucket:
        if name in self._buckets:
            self._buckets.move_to_end(name)  # who is forgotten is who has not submitted for the longest time
            return self._buckets[name]
        bucket = self._buckets[name] = Bucket(capacity, now)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return bucket


def _names(tenant: str, key_id: str) -> tuple[str, str]:
    return key_id, f"tenant {tenant}"
