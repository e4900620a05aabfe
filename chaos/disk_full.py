"""The disk is full while a checkpoint is due: the jobs' folder is a small file system of its own, filled for a while.

The checkpoint before stays, training goes on and the job says so; one that cannot write its model pauses with the
reason, and succeeds once there is room and it is resumed. Nothing truncated is ever to be seen; the bits are the same.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chaos.disturbances import Disturbed, disturb
from chaos.looking import looking
from chaos.records import Finding, Skipped
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally
from chaos.watch import Watch

__all__ = ["measure"]

SIZE = "24m"  # a checkpoint is 3 MB, of which two are kept and one is written
WIDE = [{"type": "dense", "units": 500, "activation": "relu"}, {"type": "dense", "units": 500, "activation": "relu"}]
FULL_S = (0.5, 2.0)  # so long, two to ten checkpoints are due
SAYS = ("disk", "space")  # one of these words must be in what a job says while its disk is full
PAUSES_WITHIN_S = 120.0


def measure(run: Run) -> Finding:
    with running(run) as service, _small_disk(service.data_dir / "jobs") as disk:
        tally = Tally(service, "fillings", run.amount(20, quick=2), disk_has_room=False)
        said: list[str] = []

        def fill(job_id: str) -> Disturbed:
            with _filled(disk):
                filled_at = time.monotonic()
                time.sleep(run.draw.uniform(*FULL_S))
                said.append(_said(service, job_id))
            return Disturbed(filled_at, time.monotonic())

        epochs, truncated = run.amount(200, quick=60), _Truncated(disk)
        with looking(truncated.look):
            disturb(service, tally, fill, layers=WIDE, epochs=epochs)
            _cannot_finish(service, tally, disk, epochs)
        silent = sum(not any(word in text for word in SAYS) for text in said)
        if silent:
            tally.broken.append(f"{silent} of {len(said)} times the job did not say that its disk was full")
        tally.broken += truncated.found
        return tally.finding()


def _said(service: Service, job_id: str) -> str:
    job = service.client.job(job_id)
    return f"{job.reason} {job.environment}".lower()


def _cannot_finish(service: Service, tally: Tally, disk: Path, epochs: int) -> None:
    """Fills the disk until the job has trained to its end."""
    spec = service.spec(epochs, layers=WIDE)
    watch = Watch(service.url, service.client.submit(spec).id)
    watch.goes_on(since=0.0)
    with _filled(disk):
        state = service.client.job(watch.job_id)
        deadline = time.monotonic() + PAUSES_WITHIN_S
        while state.state not in ("paused", "failed", "succeeded") and time.monotonic() < deadline:
            watch.is_over_within(0.1)
            state = service.client.job(watch.job_id)
    if state.state != "paused" or not any(word in (state.reason or "").lower() for word in SAYS):
        tally.jobs += 1
        tally.lose(f"{watch.job_id} could not write its model, and {state.state}: {state.reason}")
        return
    service.client.resume(watch.job_id)
    tally.ends(watch.job_id, service.undisturbed(spec))


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system in memory, mounted on an existing folder. Raises Skipped where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "chaos", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """No room on the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        room = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail - 1) * room.f_frsize)
    try:
        yield
    finally:
        filler.unlink()


class _Truncated:
    """Looks at every checkpoint all the time: its name must carry the SHA-256 of its content."""

    def __init__(self, disk: Path) -> None:
        self.found: list[str] = []
        self._disk = disk
        self._whole: set[str] = set()

    def look(self) -> None:
        with suppress(FileNotFoundError):  # a newer one is there, or the job has ended
            for path in self._disk.glob("*/checkpoints/step-*.safetensors"):
                if path.name not in self._whole:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    self._whole.add(path.name)
                    if digest not in path.name:
                        self.found.append(f"{path.name} holds something else, of {digest}")
