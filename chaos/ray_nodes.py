"""A Ray cluster of its own on this machine: each node is what one `ray start` leaves running, and dies as a whole."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.records import BenchmarkFailed
from chaos.run import Run
from examples.service_process import free_port, kill_marked, marked_processes

__all__ = ["Node", "RayNodes", "ray_nodes"]

STARTS_WITHIN_S = 60.0


class Node:
    """One node: a raylet, what it has started, and on the head Ray's own control service."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def processes(self) -> list[int]:
        """Ids of its live processes, those of jobs among them."""
        return marked_processes(self._mark)

    def kill(self) -> None:
        """Kills all of its processes by SIGKILL: to all others, the machine is gone."""
        kill_marked(self._mark)


class RayNodes:
    """A head without CPUs, to which the service connects, and nodes that train."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.address = f"127.0.0.1:{free_port()}"
        self.nodes: list[Node] = []
        port = self.address.rpartition(":")[2]
        self.head = self._start("--head", "--port", port, "--num-cpus", "0", "--include-dashboard", "false")

    def add(self, cpus: int) -> Node:
        """Starts one more node; returns when it has joined."""
        node = self._start("--address", self.address, "--num-cpus", str(cpus))
        self.nodes.append(node)
        return node

    def lose(self, node: Node) -> None:
        """Kills a node."""
        self.nodes.remove(node)
        node.kill()

    def _start(self, *options: str) -> Node:
        mark = f"CHAINRULE_CHAOS_NODE={uuid.uuid4().hex}"
        variable, _, value = mark.partition("=")
        command = [str(Path(sys.executable).with_name("ray")), "start", *options]
        command += ["--num-gpus", "0", "--min-worker-port", "0", "--max-worker-port", "0", "--disable-usage-stats"]
        command += ["--include-log-monitor", "false"]
        environment = {**os.environ, variable: value, "RAY_TMPDIR": str(self._run.folder / "ray")}
        done = subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=STARTS_WITHIN_S
        )
        if done.returncode:
            raise BenchmarkFailed(f"`ray start` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return Node(mark)


@contextmanager
def ray_nodes(run: Run, cpus: Sequence[int]) -> Iterator[RayNodes]:
    """A cluster with a node for each number of CPUs, killed at the end. Raises BenchmarkFailed."""
    run.say("starts a Ray cluster")
    cluster = RayNodes(run)
    try:
        for count in cpus:
            cluster.add(count)
        yield cluster
    finally:
        for node in (*cluster.nodes, cluster.head):
            node.kill()
