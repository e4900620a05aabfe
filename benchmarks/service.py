"""A service as users start it, and the pace of the jobs that it trains."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks.records import BenchmarkFailed
from chainrule import Client
from chainrule.records import Metric
from examples.service_process import ServiceProcess

__all__ = ["running_service", "steps_per_s"]


@contextmanager
def running_service() -> Iterator[Client]:
    """A client of a service that is ready for jobs, and is stopped afterwards with all that it started.

    Raises ServiceFailed when it does not start, or leaves something behind.
    """
    with ServiceProcess() as process, Client(process.url) as client:
        process.wait_until_ready()
        yield client
        process.stop()


def steps_per_s(client: Client, spec: Mapping[str, Any]) -> float:
    """Trains a job to its end; its pace after the first epoch, by its own metrics. Raises BenchmarkFailed."""
    job = client.wait(client.submit(spec)["id"])
    if job["state"] != "succeeded" or job["progress"] is None:
        raise BenchmarkFailed(f"job {job['name']!r}: got {job['state']} ({job['reason']}), expected succeeded")
    first, last = (_metrics_after(client, job["id"], step) for step in (0, job["progress"]["steps"] - 1))
    client.delete_job(job["id"])
    return float((last["step"] - first["step"]) / (last["elapsed_s"] - first["elapsed_s"]))


def _metrics_after(client: Client, job_id: str, step: int) -> Metric:
    """The first item of the job's metrics above a step; there may be a million of them."""
    url = f"{client.url}/v1/jobs/{job_id}/metrics"
    answer = httpx.get(url, params={"after": step, "limit": 1}, timeout=60.0, trust_env=False).raise_for_status()
    item: Metric = answer.json()["items"][0]
    return item
