"""A program: a control plane is killed while its job trains on a Ray cluster of two nodes, and another finds the job,
which does not answer for a while then.

A program of its own, since Ray reads its settings once in a process. Arguments: the job's folder; the first control
plane is this program too, with the cluster's address after it. Prints how the job ended, as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from support.training import job_of
from workers.job import Sought, TrainingJob
from workers.ray_environment import ray_cluster

LONG_ENOUGH = {"epochs": 1_200, "validation": None}  # for the second to find it training


def job_in(folder: Path) -> TrainingJob:
    return job_of(folder, workers=3, **LONG_ENOUGH)


def leave_alone(folder: Path, address: str) -> None:
    """Begins the job, writes down which process coordinates it, and is killed."""
    cluster = ray_cluster(folder, address=address)
    cluster.start()
    running = cluster.launch(job_in(folder))
    while not any(report.type == "metrics" for report in running.reports(0, 10)):
        continue
    (folder / "coordinator").write_text(str(running.process_ids()["coordinator"][0]))  # type: ignore[attr-defined]
    os.kill(os.getpid(), signal.SIGKILL)


def until_nobody_elses_spares_are_left() -> None:
    """Returns when the killed one's spares have ended, so that there are no more than one control plane keeps."""
    import ray

    from workers.on_ray.process import SPARE_FOR_S
    from workers.on_ray.spares import SPARES_PER_NODE

    deadline = time.monotonic() + 4 * SPARE_FOR_S
    while len(spares := ray.util.list_named_actors()) > 2 * SPARES_PER_NODE:
        assert time.monotonic() < deadline, spares
        time.sleep(0.2)  # Ray tells of no actor's end to who did not start it


def main(folder: Path) -> None:
    chosen = ray_cluster(folder, address="auto")  # before Ray's import
    from ray.cluster_utils import Cluster

    from workers.on_ray.keeper import ANSWERS_WITHIN_S

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    try:
        first = [sys.executable, "-m", "support.found_again", str(folder), nodes.address]
        assert subprocess.run(first, check=False).returncode == -signal.SIGKILL
        coordinator = int((folder / "coordinator").read_text())
        chosen._address = nodes.address  # type: ignore[attr-defined]
        chosen.start()
        job = job_in(folder)
        os.kill(coordinator, signal.SIGSTOP)
        threading.Timer(1.5 * ANSWERS_WITHIN_S, os.kill, (coordinator, signal.SIGCONT)).start()
        sought = [Sought(job.id, job.attempt, job.epoch)]
        running = chosen.find(sought)[job.id]
        last, told = 0, []
        while not told or told[-1].type != "ended":
            told += running.reports(last, 10)
            last = told[-1].number if told else 0
        running.close()
        assert chosen.find(sought) == {}, "an attempt that was closed is not found"
        from workers.on_ray.seats import groups

        left = groups()
        until_nobody_elses_spares_are_left()
        chosen.stop()
    finally:
        nodes.shutdown()
    print(json.dumps({**told[-1].data, "first": told[0].number, "left": left}))


if __name__ == "__main__":
    folder, *address = sys.argv[1:]
    if address:
        leave_alone(Path(folder), *address)
    else:
        main(Path(folder))
