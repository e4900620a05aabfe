"""One run of one experiment: what it draws its chances from, and where it may leave things while it lasts."""

import os
import random
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.run import Run as Measurement
from examples.service_process import kill_marked, marked_processes

__all__ = ["LeftBehind", "Run", "own_place"]


class LeftBehind(Exception):
    """An experiment ended, and processes that it had started did not; they have been killed."""


@dataclass(frozen=True)
class Run(Measurement):
    """One run of the experiments. The same `seed` gives the same victims and delays, not the same moments in a job."""

    seed: int = 0
    name: str = ""
    mark: str = ""
    """NAME=value in the environment of every process that the experiment starts."""
    folder: Path = Path()
    """The experiment's own; removed when it ends."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of the jobs that were trained undisturbed, by spec."""
    draw: random.Random = field(default_factory=random.Random)
    logs: Path | None = None
    """Where the logs of services are kept."""

    def processes(self) -> list[int]:
        """Ids of the live processes that the experiment has started, directly or not."""
        return marked_processes(self.mark, self.folder)

    def keep(self, log: Path) -> None:
        """Keeps a copy of a log, if that is wanted."""
        if self.logs is not None:
            self.logs.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, self.logs / f"{self.name}-{log.name}")


@contextmanager
def own_place(run: Run, name: str) -> Iterator[Run]:
    """The run of one experiment, which must leave no process behind: else LeftBehind is raised, unless it failed."""
    mark = f"CHAINRULE_CHAOS_MARK={uuid.uuid4().hex}"
    variable, _, value = mark.partition("=")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ[variable] = value
    try:
        yield replace(run, name=name, mark=mark, folder=folder, draw=random.Random(f"{run.seed} {name}"))
        if left := marked_processes(mark, folder):
            raise LeftBehind(f"{len(left)} processes were left behind: {', '.join(map(title, left))}")
    finally:
        kill_marked(mark, folder)
        del os.environ[variable]
        shutil.rmtree(folder)


def title(process_id: int) -> str:
    """A process's title, "" when it has ended."""
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
