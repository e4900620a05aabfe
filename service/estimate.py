"""When jobs that wait will start, as far as that can be told: pure.

Those that run end when they say so, and those that start last as long as such jobs lasted of late; CPUs become free
then, and go to the next in line. What nothing is known of is not guessed: where a job needs CPUs of one whose end is
unknown, it has no estimate, nor have those behind it.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.allocation import Waiting

__all__ = ["Ends", "starts_in"]


@dataclass(frozen=True)
class Ends:
    """A job that holds `cpus`, and in how many seconds it ends; None where that is unknown."""

    cpus: int
    in_s: float | None


def starts_in(
    waiting: Sequence[Waiting], running: Sequence[Ends], free: int, lasts_s: Mapping[str, float]
) -> dict[str, float]:
    """In how many seconds each of the jobs will start, in the order in which they do, by id; those of which it is not
    known are left out. `lasts_s` tells by tenant how long a job lasts."""
    found: dict[str, float] = {}
    ends = [(job.in_s, job.cpus) for job in running if job.in_s is not None]
    heapq.heapify(ends)
    now = 0.0
    for job in waiting:
        while free < job.cpus_min and ends:
            at, cpus = heapq.heappop(ends)
            now, free = max(now, at), free + cpus
        if free < job.cpus_min:
            return found
        found[job.id] = now
        cpus = min(job.cpus_max, free)
        free -= cpus
        if job.tenant in lasts_s:
            heapq.heappush(ends, (now + lasts_s[job.tenant], cpus))
    return found
