"""A program: joins a Ray cluster of two nodes whose head does not answer at first, and loses a node of it.

A program of its own, since Ray reads its settings once in a process. Arguments: a folder. Prints what came of it, as
JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from shared.errors import Unavailable
from workers.ray_environment import ray_cluster

GONE_WITHIN_S = 60.0


def start_too_early(chosen: Any) -> None:
    """Joins the cluster, and fails as its head does not tell which nodes there are."""
    answers = chosen.nodes

    def silent() -> None:
        raise Unavailable("the cluster does not answer")

    chosen.nodes = silent
    try:
        chosen.start()
    except Unavailable:
        chosen.nodes = answers
        return
    raise AssertionError("it started")


def lose(nodes: Any, node: Any) -> None:
    """Returns when Ray tells that the node is gone."""
    import ray

    nodes.remove_node(node)
    deadline = time.monotonic() + GONE_WITHIN_S
    while sum(each["Alive"] for each in ray.nodes()) > 1:  # type: ignore[no-untyped-call]
        assert time.monotonic() < deadline
        time.sleep(0.1)  # there is nothing to wait on


def main(folder: Path) -> None:
    chosen: Any = ray_cluster(folder, address="auto")  # before Ray's import
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = nodes.add_node(num_cpus=1)
    chosen._address = nodes.address
    try:
        start_too_early(chosen)
        chosen.start()
        joined = len(chosen.nodes())
        lose(nodes, other)
        chosen._spares.replace(other.node_id)  # as a job does that has lost a process there
        chosen._spares.greet()
        kept = len(chosen._spares._by_node)
    finally:
        chosen.stop()
        nodes.shutdown()
    print(json.dumps({"outcome": "succeeded", "joined": joined, "nodes_with_spares": kept}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
