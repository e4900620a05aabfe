"""The processes of a job, told by what they are seen to do: they map its prepared data into their memory, and a thread
of theirs has the name of what they are (`workers/on_ray/process.py`)."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.run import Run

__all__ = ["JobProcesses", "kill_all", "of_job"]


@dataclass(frozen=True)
class JobProcesses:
    """The operating system's ids of a job's processes, by what they are; those that have nothing to do are in none."""

    coordinators: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    relays: list[int] = field(default_factory=list)


def of_job(run: Run, job_id: str) -> JobProcesses:
    """The processes that train the job now; none while its data are being prepared."""
    found = JobProcesses()
    for process_id in sorted(run.processes()):
        if _maps(process_id, f"/{job_id}/prepared/"):
            threads = _threads(process_id)
            for role, its in (("coordinator", found.coordinators), ("worker", found.workers), ("relay", found.relays)):
                if role in threads:
                    its.append(process_id)
    return found


def _threads(process_id: int) -> set[str]:
    """Their names."""
    names = set()
    for thread in Path(f"/proc/{process_id}/task").glob("*/comm"):
        with suppress(OSError):  # it has ended
            names.add(thread.read_text(errors="replace").rstrip("\n"))
    return names


def _maps(process_id: int, part_of_path: str) -> bool:
    try:
        return part_of_path in Path(f"/proc/{process_id}/maps").read_text(errors="replace")
    except OSError:
        return False  # it has ended


def kill_all(process_ids: Iterable[int]) -> float | None:
    """Kills processes by SIGKILL; the moment at which it began, None when none of them was alive any more."""
    began, killed = time.monotonic(), False
    for process_id in process_ids:
        try:
            os.kill(process_id, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed = True
    return began if killed else None
