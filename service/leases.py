"""When a lease on a running job is over: pure decisions over what the database says and how long one has watched.

A running job belongs to one control plane, its owner, for LEASE_S by the database's clock, and the owner renews that
every RENEW_S. Whoever finds a lease over takes the job: its epoch counts up, and the database refuses every write of
the epochs before. So two owners never both write; the rest here is to be sure that the old owner has let go before
the next one takes hold, and that nobody loses a job to a clock that jumps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LEASE_S", "LOOK_S", "RENEW_S", "Lease", "Watched", "must_close", "watch"]

LEASE_S = 15.0
RENEW_S = 3.0
LOOK_S = 0.5  # between two looks at what users asked for of the jobs that run here
CLOSE_AFTER_S = LEASE_S - 4.0  # which leaves as long to let go of an attempt
WATCH_S = 2 * RENEW_S + 1.0  # in which an owner that lives has renewed


@dataclass(frozen=True)
class Lease:
    """A running job's lease as the database tells it: `remaining_s` is by the database's clock, now."""

    job_id: str
    attempt: int
    workers: int
    epoch: int
    lease_until: float
    remaining_s: float


@dataclass(frozen=True)
class Watched:
    """A lease that was not renewed since `since`, by the watcher's monotonic clock."""

    epoch: int
    lease_until: float
    since: float


def watch(
    watched: Mapping[str, Watched], leases: Sequence[Lease], now: float
) -> tuple[dict[str, Watched], list[Lease]]:
    """What has been watched by now, and those of `leases` that are over and may be taken.

    `watched` is what the call before returned. A lease is over when the database's clock says so. That clock may have
    jumped, forwards or back, so the lease must also have stayed as it is for WATCH_S by the clock of this process.
    """
    after, over = {}, []
    for lease in leases:
        known = watched.get(lease.job_id)
        if known is None or (known.epoch, known.lease_until) != (lease.epoch, lease.lease_until):
            known = Watched(lease.epoch, lease.lease_until, now)
        after[lease.job_id] = known
        if not 0 < lease.remaining_s <= LEASE_S and now - known.since >= WATCH_S:
            over.append(lease)
    return after, over


def must_close(since_renewed_s: float, *, alone: bool) -> bool:
    """Whether the owner must let go of an attempt, as another control plane may take the job soon.

    `since_renewed_s` counts from before the last renewal that succeeded, by the owner's monotonic clock. An owner that
    is `alone` loses nothing to anybody by going on until the database is back.
    """
    return not alone and since_renewed_s >= CLOSE_AFTER_S
