"""A job runs out of memory: the kernel kills its process, in a control group whose limit the job does not fit into.

The job says so and is tried again twice at most; its neighbour on the same machine goes on as if nothing had happened.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.processes import of_job
from chaos.records import Finding, Skipped
from chaos.run import Run, title
from chaos.service import Service, running
from chaos.tally import Tally
from chaos.watch import Watch

__all__ = ["measure"]

CONTROL_GROUPS = Path("/sys/fs/cgroup")
LIMIT_BYTES = 900 * 2**20  # enough for processes to start, not for the job
WIDE = [{"type": "dense", "units": 8192, "activation": "relu"}, {"type": "dense", "units": 8192, "activation": "relu"}]
SAYS = "out of memory"
MOST_ATTEMPTS = 3
ENDS_WITHIN_S = 900.0


def measure(run: Run) -> Finding:
    with _limited_group() as group, running(run) as service:
        tally = Tally(service, "starved jobs", run.amount(3, quick=1))
        spec = service.spec(run.amount(6000, quick=2000), workers=1)
        digest = service.undisturbed(spec)
        while not tally.enough:
            neighbour = Watch(service.url, service.client.submit(spec).id)
            neighbour.goes_on(since=0.0)
            _limit_all_but(run, neighbour.job_id, group)
            _starve(service, tally)
            tally.count()
            tally.ends(neighbour.job_id, digest)
            if (attempt := service.client.job(neighbour.job_id).attempt) != 1:
                tally.broken.append(f"the neighbour {neighbour.job_id} was disturbed: it ended in attempt {attempt}")
        return tally.finding()


def _starve(service: Service, tally: Tally) -> None:
    """Submits a job that does not fit, and looks at its end."""
    job_id = service.client.submit(service.spec(epochs=2, layers=WIDE, workers=1)).id
    job = service.client.wait(job_id, ENDS_WITHIN_S)
    tally.jobs += 1
    if job.state != "failed" or SAYS not in (job.reason or "") or job.attempt > MOST_ATTEMPTS:
        tally.lose(f"{job_id} did not fit, and {job.state} in attempt {job.attempt}: {job.reason}")


def _limit_all_but(run: Run, job_id: str, group: Path) -> None:
    """Puts Ray's processes into the group, with all that they start from now on, but for those of that job, which are
    taken out of it where they were spares before."""
    neighbour = of_job(run, job_id)
    spared = {*neighbour.coordinators, *neighbour.workers}
    for process_id in run.processes():
        if "ray::" in title(process_id) or "/raylet " in title(process_id):
            chosen = group.parent if process_id in spared else group
            (chosen / "cgroup.procs").write_text(str(process_id))


@contextmanager
def _limited_group() -> Iterator[Path]:
    """A control group with little memory; its processes must be gone at the end. Raises Skipped where there is none."""
    first = CONTROL_GROUPS / "memory"  # in version 1 of control groups, each controller has its own folder
    group = (first if first.is_dir() else CONTROL_GROUPS) / f"chaos-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if first.is_dir() else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(LIMIT_BYTES))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        raise Skipped(f"a control group with little memory cannot be made: {error.strerror}") from error
    try:
        yield group
    finally:
        group.rmdir()
