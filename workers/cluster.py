"""Jobs on Ray: the only file that knows Ray's API.

Ray places, starts and supervises the processes of a job and reports their deaths. Each job is one placement group: a
CPU for each gradient worker; the parameter server and the coordinator, which mostly wait, share the first one.
"""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from shared.errors import Unavailable
from shared.plan import Plan
from workers.job import AttemptLost, Node, Report, StopRequest, TrainingJob

__all__ = ["RayCluster"]

NAMESPACE = "chainrule"
PLACED_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 60.0  # a coordinator that says nothing for longer is given up
OBJECT_STORE_BYTES = 512 * 2**20  # weights and gradients in flight; data never travels through Ray


class RayCluster:
    """A Ray cluster: one that runs already at `address`, or one of our own whose sockets and logs are in `folder`.

    Made by `workers.ray_environment.ray_cluster`. `start` must be called on a thread that lives as long as the cluster
    is to live: Ray's processes end with it.
    """


    def __init__(self, address: str | None, cpus: int | None, folder: Path | None) -> None:
        self._address, self._cpus, self._folder = address, cpus, folder
        self._kernels: dict[str, Any] = {}  # by node id: the kernel's name, or the reference to a running probe
        self._lock = threading.Lock()

    def start(self) -> None:
        options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False}
        if self._folder is None:
            ray.init(address=self._address, **options)
            return
        ray.init(
            num_cpus=self._cpus,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(self._folder),
            **options,
        )

    def stop(self) -> None:
        ray.shutdown()
        if self._folder is not None:
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

    def launch(self, job: TrainingJob) -> "RayRunningJob":
        return RayRunningJob(job)

    def _kernel(self, node_id: str) -> str | None:
        """The BLAS kernel of a node, or None until the probe that the first question sends there has answered."""
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


@ray.remote(num_cpus=0, max_retries=0)
def _probe_kernel() -> str:
    from workers.blas import kernel_in_use

    return kernel_in_use()


# ---------------------------------------------------------------- the actors: thin wraps around plain classes
class _WorkerProcess:
    """A GradientWorker in a process of its own."""

    def open(self, plan: Plan, prepared: Path) -> None:
        from threadpoolctl import threadpool_limits

        from workers.gradient_worker import GradientWorker

        threadpool_limits(1, "blas")  # kept for the life of the process: a shard's bits must not depend on threads
        self._worker = GradientWorker(plan, prepared)

    def gradients(self, weights: Any, step: int, shards: list[int]) -> Any:
        return self._worker.gradients(self._own(weights), step, shards)

    def evaluate(self, weights: Any, slices: range) -> Any:
        return self._worker.evaluate(self._own(weights), slices)

    def _own(self, weights: Any) -> Any:
        """A writable copy: Ray's arrays are read-only, another type to numba, which would compile all kernels again."""
        return weights.copy()


class _ServerProcess:
    """A ParameterServer in a process of its own."""

    def open(self, plan: Plan, state: Any, next_step: int) -> Any:
        from workers.parameter_server import ParameterServer

        self._server = ParameterServer(plan, state, next_step)
        return self._server.parameters

    def step(self, step: int, *sent: Any) -> Any:
        from workers.gradient_worker import Part

        parts = {node: Part(part.gradient.copy(), part.loss) for held in sent for node, part in held.items()}
        loss = self._server.step(step, parts)
        return loss, self._server.parameters

    def penalty(self) -> float:
        return self._server.penalty()

    def keep_best(self) -> None:
        self._server.keep_best()

    def state(self) -> Any:
        return self._server.state()


class _CoordinatorProcess:
    """A Coordinator in a process of its own, with threads for those who ask while it runs."""

    def __init__(self, job: TrainingJob, server: Any, workers: list[Any]) -> None:
        from workers.coordinator import Coordinator

        self._coordinator = Coordinator(job, RayTransport(server, workers))

    def run(self) -> None:
        self._coordinator.run()

    def reports(self, after: int, wait_s: float) -> list[Report]:
        return self._coordinator.reports(after, wait_s)

    def request(self, stop: StopRequest) -> None:
        self._coordinator.request(stop)


class RayTransport:
    """Weights and gradients as arguments and results of plain Ray calls: simple, and the reference for faster ways.

    A run of steps is submitted at once and waited for at its end: each call takes the result of the one before by
    reference, so no step waits for this process.
    """

    def __init__(self, server: Any, workers: list[Any]) -> None:
        self._server, self._workers = server, workers

    def open(self, plan: Plan, prepared: Path, state: Any, next_step: int) -> None:
        self._plan = plan
        self._weights = self._server.open.remote(plan, state, next_step)
        self._get([self._weights, *(worker.open.remote(plan, prepared) for worker in self._workers)])

    def steps(self, first: int, count: int) -> list[float]:
        from workers.transport import busy

        losses = []
        for step in range(first, first + count):
            sent = [
                self._workers[worker].gradients.remote(self._weights, step, shards)
                for worker, shards in busy(self._plan, step, len(self._workers))
            ]
            loss, self._weights = self._server.step.options(num_returns=2).remote(step, *sent)
            losses.append(loss)
        return list(self._get(losses))

    def evaluate(self) -> Any:
        from workers.transport import in_slice_order, slices_of

        calls = zip(self._workers, slices_of(self._plan, len(self._workers)), strict=True)
        found = self._get([worker.evaluate.remote(self._weights, mine) for worker, mine in calls if mine])
        return in_slice_order([pair for measured in found for pair in measured])

    def penalty(self) -> float:
        return float(self._get(self._server.penalty.remote()))

    def keep_best(self) -> None:
        self._get(self._server.keep_best.remote())

    def state(self) -> Any:
        return self._get(self._server.state.remote())

    def _get(self, references: Any) -> Any:
        """Waits for results; errors come as they were raised there, a dead process as AttemptLost."""
        try:
            return ray.get(references)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise AttemptLost(f"a process of the job died: {_first_line(error)}") from None


class RayRunningJob:
    """One attempt on Ray."""

    def __init__(self, job: TrainingJob) -> None:
        self._launched_at = time.monotonic()
        self._placed = False
        self._group = placement_group([{"CPU": 1}] * job.workers, strategy="PACK")
        self._server = self._actor(_ServerProcess, bundle=0, cpus=0)
        self._workers = [self._actor(_WorkerProcess, bundle=number, cpus=1) for number in range(job.workers)]
        self._coordinator = self._actor(_CoordinatorProcess, 0, 0, job, self._server, self._workers, max_concurrency=8)
        self._run = self._coordinator.run.remote()

    def _actor(self, kind: type, bundle: int, cpus: int, *arguments: Any, max_concurrency: int = 1) -> Any:
        where = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=bundle)
        options = {"num_cpus": cpus, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": max_concurrency}
        return ray.remote(kind).options(scheduling_strategy=where, **options).remote(*arguments)

    def reports(self, after: int, wait_s: float) -> list[Report]:
        self._check_placed(wait_s)
        if not self._placed:
            return []
        try:
            found: list[Report] = ray.get(
                self._coordinator.reports.remote(after, wait_s), timeout=wait_s + ANSWERS_WITHIN_S
            )
            if not found and ray.wait([self._run], timeout=0)[0]:
                ray.get(self._run)  # raises what ended the run without a last report
        except ray.exceptions.RayTaskError as error:
            raise AttemptLost(_first_line(error.cause)) from error
        except ray.exceptions.RayActorError as error:
            raise AttemptLost("the job's coordinator died") from error
        except ray.exceptions.RayError as error:
            raise AttemptLost(f"the job's coordinator does not answer: {_first_line(error)}") from error
        return found

    def _check_placed(self, wait_s: float) -> None:
        if not self._placed:
            self._placed = self._group.wait(timeout_seconds=wait_s)
            waited = time.monotonic() - self._launched_at
            if not self._placed and waited > PLACED_WITHIN_S:
                raise AttemptLost(f"the cluster found no place for it within {waited:.0f} s")

    def request(self, stop: StopRequest) -> None:
        self._coordinator.request.remote(stop)

    def close(self) -> None:
        for actor in (self._coordinator, self._server, *self._workers):
            ray.kill(actor)
        remove_placement_group(self._group)


def _first_line(error: BaseException) -> str:
    """The first line of an error's message: the rest is a stack trace, which is for the log."""
    return (str(error).splitlines() or [type(error).__name__])[0]
