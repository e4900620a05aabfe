"""A program: trains one job on a Ray cluster of two nodes on this machine, and prints how it ended as JSON.

A program of its own, since Ray reads its settings once in a process. Arguments: the job's folder, the transport.
"""

import json
import sys
from pathlib import Path

from support.training import job_of
from workers.ray_environment import ray_cluster


def main(folder: Path, transport: str) -> None:
    chosen = ray_cluster(folder, address="auto", transport=transport)  # type: ignore[arg-type]  # before Ray's import
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    chosen._address = nodes.address  # type: ignore[attr-defined]
    chosen.start()
    try:
        running = chosen.launch(job_of(folder, workers=3))
        last, told = 0, []
        while not told or told[-1].type != "ended":
            told += running.reports(last, 10)
            last = told[-1].number if told else 0
        held = sorted(chosen.cpus_held().values())
        processes = running.process_ids()  # type: ignore[attr-defined]
        running.close()
    finally:
        chosen.stop()
        nodes.shutdown()
    started = next(report.data for report in told if report.type == "started")
    print(json.dumps({**told[-1].data, "environment": started["environment"], "processes": processes, "held": held}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
