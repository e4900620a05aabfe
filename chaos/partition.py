"""A node of two is cut off from all others, while both sides live; the link is mended once the job goes on.

The coordinator runs on that node, and a new attempt resumes beside one that lives, or another worker does; a third of
the jobs compute on one node, so that a coordinator that is cut off goes on. The job continues on one side within 30 s,
the other is fenced: from when its mark is gone it makes no file that counts in the job's folder; the same bits.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.disturbances import Disturbed, disturb, is_spread
from chaos.looking import looking
from chaos.processes import of_job
from chaos.ray_nodes import Node, RayNodes, ray_nodes
from chaos.records import Finding, Skipped
from chaos.run import Run
from chaos.service import Service, running
from chaos.stale_writes import StaleWrites
from chaos.tally import Tally
from chaos.watch import Hung

__all__ = ["measure"]

SETTLES_WITHIN_S = 60.0  # after which a coordinator that was given up has ended
BESIDE_S = 3.0  # so long both coordinators may write, of which one must not: many checkpoints are due
GROUPS = 61_000  # and more: numbers of groups that nobody is in, by which it is seen who made a file


class _Island:
    """A network namespace, and the link that joins it with the bridge. What is run inside makes files of a group of
    its own."""

    def __init__(self, name: str, address: str, group: int) -> None:
        self.address, self._namespace = address, f"chaos-{name}"
        self._here, self._there = f"ch{name}", f"ct{name}"  # the ends of the link
        self.inside = ("ip", "netns", "exec", self._namespace, "setpriv", f"--regid={group}", "--keep-groups")

    def make(self, bridge: str) -> None:
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self._namespace)
        _ip("link", "set", self._here, "master", bridge, "up")
        _ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", self._there)
        _ip("-n", self._namespace, "link", "set", "lo", "up")
        self.mend()

    def cut(self) -> None:
        """What is sent is lost, and nobody is told."""
        _ip("-n", self._namespace, "link", "set", self._there, "down")

    def mend(self) -> None:
        _ip("-n", self._namespace, "link", "set", self._there, "up")

    def holds(self, process_id: int) -> bool:
        """Whether that process, which lives, is there."""
        return Path("/run/netns", self._namespace).stat().st_ino == Path(f"/proc/{process_id}/ns/net").stat().st_ino

    def remove(self) -> None:
        """Its link goes with the namespace."""
        subprocess.run(["ip", "netns", "delete", self._namespace], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def _islands() -> Iterator[tuple[str, list[_Island]]]:
    """Our address, and two islands. Raises Skipped where they may not be made."""
    number = os.getpid()
    bridge, network = f"cb{number}", f"198.18.{number % 256}"  # set apart for tests of networks by RFC 2544
    here, islands = f"{network}.1", [_Island(f"{number}{each}", f"{network}.{each}", GROUPS + each) for each in (2, 3)]
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{here}/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            for island in islands:
                island.make(bridge)
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error.strerror
            raise Skipped(f"a network namespace cannot be made: {said}") from error
        yield here, islands
    finally:
        for island in islands:
            island.remove()
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)


def measure(run: Run) -> Finding:
    with (
        _islands() as (here, islands),
        ray_nodes(run, cpus=[], ip=here) as cluster,
        running(run, "--ray-address", cluster.address) as service,
    ):
        nodes = {island: cluster.add(1, island.address, island.inside) for island in islands}
        tally = Tally(service, "cuts", run.amount(100, quick=3))
        stale = StaleWrites(service.data_dir / "jobs")
        of_coordinators = beside = 0

        def cut(job_id: str, workers: int, *, takes_coordinator: bool) -> Disturbed | None:
            nonlocal of_coordinators
            _rejoin(service, cluster, nodes)
            if not is_spread(service, job_id, workers) or (home := _home(service, job_id, islands)) is None:
                return None
            of_coordinators += takes_coordinator
            chosen = next(island for island in islands if (island is home) == takes_coordinator)
            cut_at = time.monotonic()
            chosen.cut()

            def mend() -> None:
                nonlocal beside
                if takes_coordinator:
                    time.sleep(BESIDE_S)
                    beside += len(of_job(run, job_id).coordinators) > 1
                chosen.mend()

            return Disturbed(cut_at, cut_at, mend)

        def cut_by_turns(job_id: str) -> Disturbed | None:
            return cut(job_id, 2, takes_coordinator=tally.disturbances % 2 == 1)

        def cut_lone(job_id: str) -> Disturbed | None:
            return cut(job_id, 1, takes_coordinator=True)

        with looking(stale.look):
            epochs = run.amount(2000, quick=500)
            disturb(service, tally, cut_by_turns, tally.wanted * 2 // 3, workers={"min": 1, "max": 2}, epochs=epochs)
            _rejoin(service, cluster, nodes)
            disturb(service, tally, cut_lone, workers=1, epochs=run.amount(4000, quick=2000))
        for island in islands:
            island.mend()
        tally.broken += stale.found
        taken = f"{of_coordinators} of the cuts took the coordinator's node"
        return tally.finding(
            within_s=30.0, notes=[f"{taken}; {beside} times it was still there when its successor trained"]
        )


def _home(service: Service, job_id: str, islands: list[_Island]) -> _Island | None:
    """Where the job's coordinator runs, once there is but one; None when the job ended before. Raises Hung."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while not service.client.job(job_id).is_over:
        try:
            homes = [isle for each in of_job(service.run, job_id).coordinators for isle in islands if isle.holds(each)]
        except FileNotFoundError:  # it has ended just now
            continue
        if len(homes) == 1:
            return homes[0]
        if time.monotonic() > deadline:
            raise Hung(f"{job_id} has {len(homes)} coordinators")
        time.sleep(0.1)
    return None


def _rejoin(service: Service, cluster: RayNodes, nodes: dict[_Island, Node]) -> None:
    """Starts a node anew where Ray has given it up, after which it ends itself."""
    there = {node.address for node in service.client.cluster().nodes if node.cpus}
    for island, node in nodes.items():
        if island.address not in there:
            cluster.lose(node)
            nodes[island] = cluster.add(1, island.address, island.inside)
