"""The link between two nodes is cut, while both sides live; it is mended once the job goes on.

The job continues on one side within 30 s, the other is fenced: it writes nothing that counts; the same bits.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.disturbances import Disturbed, disturb, is_spread
from chaos.ray_nodes import RayNodes, ray_nodes
from chaos.records import Finding, Skipped
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally

__all__ = ["measure"]


class _Link:
    """A network namespace, and the pair of interfaces that joins it with this one."""

    def __init__(self) -> None:
        number = os.getpid()
        self.namespace, self._here, self._there = f"chaos-{number}", f"ch{number}", f"ct{number}"
        network = f"198.18.{number % 256}"  # of the addresses that are set apart for tests of networks, RFC 2544
        self.here, self.there = f"{network}.1", f"{network}.2"
        self.inside = ("ip", "netns", "exec", self.namespace)

    def make(self) -> None:
        """Raises Skipped where that is not allowed."""
        try:
            _ip("netns", "add", self.namespace)
            _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self.namespace)
            _ip("address", "add", f"{self.here}/30", "dev", self._here)
            _ip("-n", self.namespace, "address", "add", f"{self.there}/30", "dev", self._there)
            _ip("-n", self.namespace, "link", "set", "lo", "up")
            _ip("link", "set", self._here, "up")
            self.mend()
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error.strerror
            raise Skipped(f"a network namespace cannot be made: {said}") from error

    def cut(self) -> None:
        """What is sent is lost, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", self._there, "down")

    def mend(self) -> None:
        _ip("-n", self.namespace, "link", "set", self._there, "up")

    def remove(self) -> None:
        """Its interfaces go with the namespace."""
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def _linked() -> Iterator[_Link]:
    link = _Link()
    try:
        link.make()
        yield link
    finally:
        link.remove()


def measure(run: Run) -> Finding:
    with (
        _linked() as link,
        ray_nodes(run, cpus=[1], ip=link.here) as cluster,
        running(run, "--ray-address", cluster.address) as service,
    ):
        cluster.add(1, link.there, link.inside)
        tally = Tally(service, "cuts", run.amount(100, quick=1))

        def cut(job_id: str) -> Disturbed | None:
            _rejoin(service, cluster, link)
            if not is_spread(service, job_id, 2):
                return None
            cut_at = time.monotonic()
            link.cut()
            return Disturbed(cut_at, cut_at, link.mend)

        disturb(service, tally, cut, workers={"min": 1, "max": 2}, epochs=run.amount(2000, quick=1000))
        link.mend()
        return tally.finding(within_s=30.0)


def _rejoin(service: Service, cluster: RayNodes, link: _Link) -> None:
    """Starts the far node anew where Ray has given it up, after which it ends itself."""
    if sum(node.cpus for node in service.client.cluster().nodes) < 2:
        cluster.lose(cluster.nodes[-1])
        cluster.add(1, link.there, link.inside)
