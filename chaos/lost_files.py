"""The file of a data set is deleted, that a job trains on or validates on, which waits or has just started.

The job fails within 30 s and names the data set, or had read it before and succeeds; it never hangs.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.records import Finding
from chaos.run import Run
from chaos.service import WINE, Service, running
from chaos.tally import Tally

__all__ = ["measure"]

STARTS_IN_S = 0.3  # about: files of jobs that start are deleted within this time after the submit


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "deletions", run.amount(20, quick=4))
        while not tally.enough:
            name = f"lost-{tally.disturbances}"
            copy = run.folder / f"{name}.csv"
            copy.write_bytes(WINE.read_bytes())
            dataset_id = service.client.add_dataset(copy, name).id
            table = service.data_dir / "datasets" / dataset_id / "table.arrow"
            validates = tally.disturbances // 2 % 2 == 1
            spec, like = (_spec(service, dataset, validates=validates) for dataset in (name, "wine"))
            digest = service.undisturbed(like)
            if tally.disturbances % 2:
                job_id, deleted_at = _under_a_waiting_job(service, spec, table)
            else:
                job_id, deleted_at = _under_a_starting_job(service, spec, table)
            job = service.client.wait(job_id)
            if job.state == "failed" and dataset_id in (job.reason or ""):
                tally.jobs += 1
            else:
                tally.takes(job, digest)
            tally.count(time.monotonic() - deleted_at)
        return tally.finding(within_s=30.0)


def _spec(service: Service, dataset: str, *, validates: bool) -> dict[str, Any]:
    """A job that validates on that data set, or trains on it."""
    return service.spec(2, validation={"dataset": dataset}) if validates else service.spec(2, dataset=dataset)


def _under_a_starting_job(service: Service, spec: Mapping[str, Any], table: Path) -> tuple[str, float]:
    job_id = service.client.submit(spec).id
    time.sleep(service.run.draw.uniform(0.0, STARTS_IN_S))
    table.unlink()
    return job_id, time.monotonic()


def _under_a_waiting_job(service: Service, spec: Mapping[str, Any], table: Path) -> tuple[str, float]:
    """The file is gone before the job gets CPUs, which another job has."""
    other = service.client.submit(service.spec(epochs=100_000, workers={"min": 2, "max": 2})).id
    job_id = service.client.submit(spec).id
    table.unlink()
    service.client.cancel(other)
    return job_id, time.monotonic()
