"""All benchmarks by name, in the order in which they run."""

from collections.abc import Callable

from benchmarks import (
    anatomy,
    checkpoints,
    coordination,
    data_path,
    five_million,
    growth,
    job_memory,
    lists,
    page,
    queue,
    sgemm,
    shards,
    start,
    steps,
    streams,
    submits,
    training,
    update,
    whole_load,
)
from benchmarks.records import Outcome
from benchmarks.run import Run

__all__ = ["BENCHMARKS", "Measure"]

Measure = Callable[[Run], Outcome]
"""Measures, and stops all that it started. Its module's docstring is what the report says about it."""

BENCHMARKS: dict[str, Measure] = {
    "training": training.measure,
    "sgemm": sgemm.measure,
    "anatomy": anatomy.measure,
    "update": update.measure,
    "steps": steps.measure,
    "five_million": five_million.measure,
    "checkpoints": checkpoints.measure,
    "shards": shards.measure,
    "start": start.measure,
    "growth": growth.measure,
    "coordination": coordination.measure,
    "data_path": data_path.measure,
    "job_memory": job_memory.measure,
    "page": page.measure,
    "submits": submits.measure,
    "lists": lists.measure,
    "queue": queue.measure,
    "streams": streams.measure,
    "whole_load": whole_load.measure,
}
