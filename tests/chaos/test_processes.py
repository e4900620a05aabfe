"""A job's processes are told apart by what they say that they do, whatever the title that Ray gives them."""

import subprocess
import sys
from pathlib import Path

import pytest

from chaos.processes import JobProcesses, of_job
from chaos.run import Run, own_place

MAPS = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
with open("/proc/thread-self/comm", "w") as name:
    name.write(sys.argv[2])
print("mapped", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("thread", "role"),
    [("coordinator", "coordinators"), ("worker", "workers"), ("relay", "relays"), ("idle", None), ("python", None)],
)
def test_a_process_that_maps_a_jobs_data_is_what_the_name_of_a_thread_tells(
    tmp_path: Path, thread: str, role: str | None
) -> None:
    (tmp_path / "job_a" / "prepared").mkdir(parents=True)
    file = tmp_path / "job_a" / "prepared" / "training_x.npy"
    file.write_bytes(b"rows")
    with own_place(Run(lambda text: None), "experiment") as run:
        command = [sys.executable, "-c", MAPS, str(file), thread]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            found, of_another = of_job(run, "job_a"), of_job(run, "job_b")
            process.communicate()
    expected = JobProcesses() if role is None else JobProcesses(**{role: [process.pid]})
    assert (found, of_another) == (expected, JobProcesses())
