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
        self.mark = mark

    def processes(self) -> list[int]:
        """Ids of its live processes, those of jobs among them."""
        return marked_processes(self.mark)

    def kill(self) -> None:
        """Kills its processes by SIGKILL: to all others, the machine is gone. Its agents, who hide their mark, see that
        their raylet is gone and end within a minute."""
        kill_marked(self.mark)


class RayNodes:
    """A head without CPUs at the address `ip` of this machine, to which the service connects, and nodes that train."""

    def __init__(self, run: Run, ip: str) -> None:
        self._run, self._ip = run, ip
        port = free_port()
        self.address = f"{ip}:{port}"
        self.nodes: list[Node] = []
        head = ("--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false")
        self.head = self._start((), ip, *head)

    def add(self, cpus: int, ip: str | None = None, inside: Sequence[str] = ()) -> Node:
        """Starts one more node; returns when it has joined. `inside` is a command that runs it elsewhere, at `ip`."""
        node = self._start(inside, ip or self._ip, "--address", self.address, "--num-cpus", str(cpus))
        self.nodes.append(node)
        return node

    def lose(self, node: Node) -> None:
        """Kills a node."""
        self.nodes.remove(node)
        node.kill()

    def _start(self, inside: Sequence[str], ip: str, *options: str) -> Node:
        mark = f"CHAINRULE_CHAOS_NODE={uuid.uuid4().hex}"
        variable, _, value = mark.partition("=")
        command = [*inside, str(Path(sys.executable).with_name("ray")), "start", "--node-ip-address", ip, *options]
        command += ["--num-gpus", "0", "--min-worker-port", "0", "--max-worker-port", "0", "--disable-usage-stats"]
        command += ["--include-log-monitor", "false"]
        # whatever token somebody keeps in ~/.ray, which a head takes by itself and nodes do not
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        environment |= {variable: value, "RAY_TMPDIR": str(self._run.folder / "ray")}
        done = subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=STARTS_WITHIN_S
        )
        if done.returncode:
            raise BenchmarkFailed(f"`ray start` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return Node(mark)


@contextmanager
def ray_nodes(run: Run, cpus: Sequence[int], ip: str = "127.0.0.1") -> Iterator[RayNodes]:
    """A cluster with a node for each number of CPUs, killed at the end. Raises BenchmarkFailed."""
    run.say("starts a Ray cluster")
    cluster = RayNodes(run, ip)
    try:
        for count in cpus:
            cluster.add(count)
        yield cluster
    finally:
        for node in (*cluster.nodes, cluster.head):
            node.kill()
        kill_marked(cluster.head.mark, run.folder / "ray")  # and the agents of all
