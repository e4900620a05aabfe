"""All experiments by name, in the order in which they run."""

from collections.abc import Callable

from chaos import (
    cancels,
    clocks,
    control_planes,
    control_planes_apart,
    coordinators,
    database_locked,
    database_stopped,
    disk_full,
    everything,
    hangs,
    lost_files,
    memory,
    nodes,
    partition,
    preemptions,
    submits,
    takeovers,
    workers,
)
from chaos.records import Finding
from chaos.run import Run

__all__ = ["EXPERIMENTS", "Experiment"]

Experiment = Callable[[Run], Finding]
"""Disturbs, counts, and stops all that it started. Its module's docstring says what happens and what must be true then.
Raises Skipped or NotInstalled where the machine does not allow for it."""

EXPERIMENTS: dict[str, Experiment] = {
    "workers": workers.measure,
    "coordinators": coordinators.measure,
    "nodes": nodes.measure,
    "control_planes": control_planes.measure,
    "control_planes_apart": control_planes_apart.measure,
    "takeovers": takeovers.measure,
    "everything": everything.measure,
    "disk_full": disk_full.measure,
    "database_locked": database_locked.measure,
    "database_stopped": database_stopped.measure,
    "clocks": clocks.measure,
    "partition": partition.measure,
    "hangs": hangs.measure,
    "preemptions": preemptions.measure,
    "memory": memory.measure,
    "submits": submits.measure,
    "cancels": cancels.measure,
    "lost_files": lost_files.measure,
}
