"""A service as users start it, and the pace of the jobs that it trains."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.records import BenchmarkFailed
from chainrule import Client, Job
from chainrule.records import Metric
from examples.service_process import ServiceProcess

__all__ = ["Training", "paused", "running_service", "trained"]


@contextmanager
def running_service() -> Iterator[Client]:
    """A client of a service that is ready for jobs, and is stopped afterwards with all that it started.

    Raises ServiceFailed when it does not start, or leaves something behind.
    """
    with ServiceProcess() as process, Client(process.url) as client:
        process.wait_until_ready()
        yield client
        process.stop()


@dataclass(frozen=True)
class Training:
    """A job that has succeeded: itself, and the first and the last item of its metrics."""

    job: Job
    first: Metric
    last: Metric

    @property
    def steps_per_s(self) -> float:
        """Its pace after the first epoch, by its own metrics."""
        return float((self.last["step"] - self.first["step"]) / (self.last["elapsed_s"] - self.first["elapsed_s"]))

    @property
    def took_s(self) -> float:
        """All the time that it had its CPUs: preparing, starting, training, telling, writing the model."""
        started, finished = self.job.started_at, self.job.finished_at
        assert started is not None and finished is not None, "an ended job has both"
        return (finished - started).total_seconds()


def trained(client: Client, spec: Mapping[str, Any]) -> Training:
    """Trains a job to its end, and removes it. Raises BenchmarkFailed when it does not succeed."""
    job = client.wait(client.submit(spec).id)
    if job.state != "succeeded":
        raise BenchmarkFailed(f"job {job.name!r}: got {job.state} ({job.reason}), expected succeeded")
    first, last = (_metrics_after(client, job.id, step) for step in (0, job.progress.steps - 1))
    client.delete_job(job.id)
    return Training(job, first, last)


def paused(client: Client, spec: Mapping[str, Any]) -> tuple[str, int]:
    """A job that has been started and then paused, and the steps that it has done. Raises BenchmarkFailed."""
    job_id = client.submit(spec).id
    for event in client.events(job_id):
        if event.type == "state" and event.data["to"] == "running":
            client.pause(job_id)
        elif event.type == "state" and event.data["to"] == "paused":
            return job_id, client.job(job_id).progress.step
    raise BenchmarkFailed(f"job {job_id}: it ended before it was paused")


def _metrics_after(client: Client, job_id: str, step: int) -> Metric:
    """The first item of the job's metrics above a step; there may be a million of them."""
    url = f"{client.url}/v1/jobs/{job_id}/metrics"
    headers = {"Authorization": f"Bearer {client.key}"}
    answer = httpx.get(url, params={"after": step, "limit": 1}, headers=headers, timeout=60.0, trust_env=False)
    item: Metric = answer.raise_for_status().json()["items"][0]
    return item
