"""A Ray cluster: one of our own, or one that runs already."""

import logging
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shared.errors import Unavailable
from workers.blas import ASKED_FOR, kernel_in_use
from workers.job import AttemptLost, Node, Sought, TrainingJob, TransportName
from workers.on_ray import seats
from workers.on_ray.keeper import ANSWERS_WITHIN_S, Keeper, attempts
from workers.on_ray.running_job import RayRunningJob
from workers.on_ray.seats import GroupedSeats, OnlyNode
from workers.on_ray.spares import Spares
from workers.ray_environment import RAYS_OWN, end_leftovers

__all__ = ["RayCluster"]

log = logging.getLogger(__name__)

NAMESPACE = "chainrule"
HANGS_AFTER_S = 6.0  # more than ANSWERS_WITHIN_S: both together are shorter than a lease
PROBED_WITHIN_S = 10.0  # for the nodes of a cluster that runs already to say which BLAS kernel they have
OBJECT_STORE_BYTES = 512 * 2**20  # weights and gradients in flight; data never travels through Ray


class RayCluster:
    """A Ray cluster: one that runs already at `address`, or one of our own whose sockets and logs are in `folder`.

    Made by `workers.ray_environment.ray_cluster`. `start` must be called on a thread that lives as long as the cluster
    is to live: Ray's processes end with it.
    """

    def __init__(self, address: str | None, cpus: int | None, folder: Path | None, transport: TransportName) -> None:
        self._address, self._cpus, self._folder, self._transport = address, cpus, folder, transport
        self._kernels: dict[str, Any] = {}  # by node id: the kernel's name, or the reference to a running probe
        self._lock = threading.Lock()
        self.is_elastic = transport == "direct"
        self.keeps_attempts = address is not None
        self._spares = Spares(outlive=self.keeps_attempts)
        self._keeper = Keeper(self._spares)
        self._only_node: str | None = None  # of an embedded cluster, all of whose CPUs are ours to give

    def start(self) -> None:
        try:
            self._start()
        except BaseException:  # so that it can be tried again
            ray.shutdown()
            self._kernels.clear()
            self._spares.forget()
            raise

    def _start(self) -> None:
        options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False}
        if self._folder is None:
            asked = {ASKED_FOR: os.environ[ASKED_FOR]} if ASKED_FOR in os.environ else {}
            ray.init(address=self._address, runtime_env={"env_vars": asked} if asked else None, **options)
            for node in self.nodes():  # which sends a probe to each
                if node.cpus:
                    self._spares.start(node.id)
            ray.wait(list(self._kernels.values()), num_returns=len(self._kernels), timeout=PROBED_WITHIN_S)
            self._keeper.start()
            return
        ray.init(
            num_cpus=self._cpus,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(self._folder / RAYS_OWN),
            **options,
        )
        node_id = ray.get_runtime_context().get_node_id()
        self._kernels[node_id] = kernel_in_use()  # it is this machine, and its processes have this one's environment
        self._only_node = node_id
        self._spares.start(node_id)

    def stop(self) -> None:
        if self.keeps_attempts:
            self._keeper.stop()
            self._spares.close()
        ray.shutdown()
        if self._folder is not None:
            end_leftovers(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)

    def nodes(self) -> list[Node]:
        try:
            alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise Unavailable("the cluster does not answer", retry_after_s=5) from error
        return [
            Node(
                id=node["NodeID"],
                address=node["NodeManagerAddress"],
                cpus=node["Resources"].get("CPU", 0.0),
                memory_bytes=int(node["Resources"].get("memory", 0)),
                blas_kernel=self._kernel(node["NodeID"]),
            )
            for node in alive
        ]

    def cpus_held(self) -> dict[str, int]:
        try:
            return seats.held()
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise Unavailable("the cluster does not answer", retry_after_s=5) from error

    def launch(self, job: TrainingJob) -> RayRunningJob:
        attempt = f"{job.id}.{job.attempt}.{job.epoch}.{uuid.uuid4().hex[:8]}"
        taken = GroupedSeats(attempt) if self._only_node is None else OnlyNode(self._only_node)
        return RayRunningJob.begun(attempt, job, self._spares, self._transport, taken)

    def find(self, sought: Sequence[Sought]) -> dict[str, RayRunningJob]:
        """Those that hold CPUs but do not answer are waited for a little longer, though not as long as a lease lasts;
        then they are taken back. Whoever begins next, or gives the job up, has it refused (`workers/fence.py`)."""
        found: dict[str, RayRunningJob] = {}
        if not self.keeps_attempts:
            return found
        holding = seats.groups()
        for within_s in (ANSWERS_WITHIN_S, HANGS_AFTER_S):
            wanted = {_newest(holding.values(), each) for each in sought}  # None if one has no CPUs: then all is heard
            running = attempts(within_s, wanted.issubset)
            for each in sought:
                if (name := _newest(running, each)) is not None:
                    self._follow(each, name, running[name], found)
            holding = seats.groups()
            sought = [each for each in sought if each.job_id not in found and _holds(each, holding)]
            if not sought:
                break
        for each in sought:
            log.warning("attempt %d of %s does not answer: its CPUs are given back", each.attempt, each.job_id)
            for group in _holds(each, holding):
                seats.remove(group)
        return found

    def _follow(self, sought: Sought, name: str, coordinator: Any, found: dict[str, RayRunningJob]) -> None:
        try:
            held = GroupedSeats.found(name)
            found[sought.job_id] = RayRunningJob.found(name, coordinator, self._spares, self._transport, held)
        except AttemptLost as error:
            log.warning("attempt %d of %s ended when it was found: %s", sought.attempt, sought.job_id, error)

    def _kernel(self, node_id: str) -> str | None:
        """The BLAS kernel of a node; of one that came later, None until the probe that is sent there has answered."""
        with self._lock:
            found = self._kernels.get(node_id)
            if found is None:
                where = NodeAffinitySchedulingStrategy(node_id, soft=False)
                self._kernels[node_id] = _probe_kernel.options(scheduling_strategy=where).remote()
            elif isinstance(found, ray.ObjectRef) and ray.wait([found], timeout=0)[0]:
                try:
                    self._kernels[node_id] = ray.get(found)
                except ray.exceptions.RayError:
                    del self._kernels[node_id]
            known = self._kernels.get(node_id)
        return known if isinstance(known, str) else None


def _newest(names: Iterable[str], sought: Sought) -> str | None:
    """Of the names of attempts that of the one that is sought, as it was begun last."""
    mine = [name for name in names if _is_of(name, sought) and int(name.split(".")[1]) == sought.attempt]
    return max(mine, key=lambda name: int(name.split(".")[2]), default=None)


def _holds(sought: Sought, groups: dict[str, str]) -> list[str]:
    """The placement groups of any attempt at the job."""
    return [group for group, name in groups.items() if _is_of(name, sought)]


def _is_of(name: str, sought: Sought) -> bool:
    """Whether that is the name of an attempt at the job which somebody began who had it no later than we."""
    job_id, _, epoch, _ = name.split(".")
    return job_id == sought.job_id and int(epoch) <= sought.epoch


@ray.remote(num_cpus=0, max_retries=0)
def _probe_kernel() -> str:
    return kernel_in_use()
