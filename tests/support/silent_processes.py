"""A program: attempts are looked for on a Ray cluster on which some processes do not answer.

A program of its own, since Ray reads its settings once in a process. Prints what was found, how long that took, in
units of the time in which processes are to answer, and whose CPUs are held then, as JSON.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.job import Sought
from workers.ray_environment import ray_cluster

ANSWERS, ANSWERS_TOO, SILENT, GONE = "job_a", "job_b", "job_silent", "job_gone"


class Process:
    """A coordinator as far as one looks for it."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def attempt(self) -> str:
        if self._job_id not in (ANSWERS, ANSWERS_TOO):
            time.sleep(3600.0)
        return name_of(self._job_id)

    def members(self, _attempt: str) -> list[Any]:
        return []


def name_of(job_id: str) -> str:
    return f"{job_id}.1.1.0"


def main(folder: Path) -> None:
    cluster = ray_cluster(folder, address="auto")  # before Ray's import
    import ray

    from workers.on_ray.cluster import NAMESPACE
    from workers.on_ray.keeper import ANSWERS_WITHIN_S
    from workers.on_ray.seats import GroupedSeats, groups

    ray.init(num_cpus=3, include_dashboard=False, namespace=NAMESPACE, log_to_driver=False)
    process = ray.remote(Process)
    kept = {
        job_id: process.options(name=job_id, num_cpus=0).remote(job_id)
        for job_id in (ANSWERS, ANSWERS_TOO, SILENT, "another's")
    }
    ray.get([kept[job_id].attempt.remote() for job_id in (ANSWERS, ANSWERS_TOO)])
    for job_id in (ANSWERS, ANSWERS_TOO, SILENT):
        GroupedSeats(name_of(job_id)).open(1, 1)

    def look(job_ids: Sequence[str]) -> dict[str, Any]:
        began = time.monotonic()
        found = cluster.find([Sought(job_id, 1, 1) for job_id in job_ids])
        took = (time.monotonic() - began) / ANSWERS_WITHIN_S
        held = {name.split(".")[0] for name in groups().values()}
        return {"found": sorted(found), "took": took, "held": sorted(held)}

    looks = [look([ANSWERS, ANSWERS_TOO]), look([GONE]), look([ANSWERS, SILENT, ANSWERS_TOO])]
    ray.shutdown()
    print(json.dumps({"outcome": "succeeded", "looks": looks}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
