"""Jobs on Ray: the only file that knows Ray's API.

Ray places, starts and supervises the processes of a job and reports their deaths. Each job is one placement group that
holds a CPU for each gradient worker. The processes run on the nodes of its bundles, but outside it, to outlive it.
"""

import gc
import os
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shared.errors import Unavailable
from shared.plan import Plan
from workers.blas import kernel_in_use
from workers.failures import loss_by
from workers.job import AttemptLost, Node, NotPlaced, Report, StopRequest, TrainingJob
from workers.ray_environment import TOKEN, end_leftovers

__all__ = ["RayCluster"]

NAMESPACE = "chainrule"
PROBED_WITHIN_S = 10.0  # for the nodes of a cluster that runs already to say which BLAS kernel they have
PLACED_WITHIN_S = 60.0
BEGINS_WITHIN_S = 60.0  # for a process that is still starting to take a request to stop
ANSWERS_WITHIN_S = 180.0  # else a coordinator is given up; ten processes take a minute to start on two busy cores
ALIVE_WITHIN_S = 5.0  # for a spare to answer; a dead one is known sooner
LOOK_FOR_RAYLET_EVERY_S = 0.5
FORGETS_WITHIN_S = 10.0
SPARES_PER_NODE = 4  # started processes that wait for a job: enough for one of two workers
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
        self._spares = _Spares()

    def start(self) -> None:
        options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False}
        if self._folder is None:
            ray.init(address=self._address, **options)
            self.nodes()  # sends a probe to each
            ray.wait(list(self._kernels.values()), num_returns=len(self._kernels), timeout=PROBED_WITHIN_S)
            return
        ray.init(
            num_cpus=self._cpus,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(self._folder),
            **options,
        )
        node_id = ray.get_runtime_context().get_node_id()
        self._kernels[node_id] = kernel_in_use()  # it is this machine, and its processes have this one's environment
        self._spares.start(node_id)

    def stop(self) -> None:
        ray.shutdown()
        if self._folder is not None:
            end_leftovers(self._folder / TOKEN)
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
        return RayRunningJob(job, self._spares)

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


@ray.remote(num_cpus=0, max_retries=0)
def _probe_kernel() -> str:
    return kernel_in_use()


class _Process:
    """One process of a job: a gradient worker, a parameter server or a coordinator, as it is told.

    A started process costs seconds of imports, so one that ended its job in good order is kept as a spare for the next.
    Calls run one after the other, in order, but for those of group "aside", which answer while others run.
    """

    def __init__(self) -> None:
        from threadpoolctl import threadpool_limits

        import workers.coordinator  # noqa: F401  (what a spare has imported and compiled, no job waits for)
        from shared.warmup import warm

        threadpool_limits(1, "blas")  # for the life of the process: a shard's bits must not depend on threads
        for dtype in ("float32", "float64"):
            warm(dtype)
        threading.Thread(target=_end_with, args=(os.getppid(),), name="end-with-raylet", daemon=True).start()
        self._changed = threading.Condition()
        self._run_of: str | None = None  # the attempt that a coordinator runs
        self._part: Any = None  # what this process is now: a GradientWorker, a ParameterServer or a Coordinator

    def forget(self) -> None:
        """Drops all that belonged to a job."""
        with self._changed:
            self._part = self._run_of = None
        gc.collect()

    @ray.method(concurrency_group="aside")
    def process_id(self) -> int:
        return os.getpid()

    # ---- as a gradient worker
    def open_worker(self, plan: Plan, prepared: Path) -> None:
        from workers.gradient_worker import GradientWorker

        self._part = GradientWorker(plan, prepared)

    def gradients(self, weights: Any, step: int, shards: list[int]) -> Any:
        # A writable copy: Ray's arrays are read-only, another type to numba, which would compile all kernels again.
        return self._part.gradients(weights.copy(), step, shards)

    def evaluate(self, weights: Any, slices: range) -> Any:
        return self._part.evaluate(weights.copy(), slices)

    # ---- as a parameter server
    def open_server(self, plan: Plan, state: Any, next_step: int) -> Any:
        from workers.parameter_server import ParameterServer

        self._part = ParameterServer(plan, state, next_step)
        return self._part.parameters

    def step(self, step: int, *sent: Any) -> Any:
        from workers.gradient_worker import Part

        parts = {node: Part(part.gradient.copy(), part.loss) for held in sent for node, part in held.items()}
        loss = self._part.step(step, parts)
        return loss, self._part.parameters

    def penalty(self) -> float:
        return float(self._part.penalty())

    def keep_best(self) -> None:
        self._part.keep_best()

    def state(self) -> Any:
        return self._part.state()

    # ---- as a coordinator
    def run(self, attempt: str, job: TrainingJob, server: Any, workers: list[Any]) -> None:
        from workers.coordinator import Coordinator

        coordinator = Coordinator(job, RayTransport(server, workers))
        with self._changed:
            self._part, self._run_of = coordinator, attempt
            self._changed.notify_all()
        coordinator.run()

    @ray.method(concurrency_group="aside")
    def reports(self, attempt: str, after: int, wait_s: float) -> list[Report]:
        coordinator = self._coordinator_of(attempt, wait_s)
        found: list[Report] = [] if coordinator is None else coordinator.reports(after, wait_s)
        return found

    @ray.method(concurrency_group="aside")
    def request(self, attempt: str, stop: StopRequest) -> None:
        coordinator = self._coordinator_of(attempt, BEGINS_WITHIN_S)
        if coordinator is not None:
            coordinator.request(stop)

    def _coordinator_of(self, attempt: str, wait_s: float) -> Any | None:
        """The coordinator of that attempt, waiting for it to begin. Calls aside keep no order with the others: what is
        asked of one attempt must reach neither the one before in this process nor the next."""
        with self._changed:
            return self._part if self._changed.wait_for(lambda: self._run_of == attempt, wait_s) else None


def _end_with(raylet: int) -> None:
    """Ends this process when the raylet that started it is gone; Ray would wait for the running call, maybe long."""
    while os.getppid() == raylet:
        time.sleep(LOOK_FOR_RAYLET_EVERY_S)
    os._exit(1)


_actor: Any = ray.remote  # its type hints know no concurrency groups
_ProcessActor = _actor(concurrency_groups={"aside": 4}, num_cpus=0, max_restarts=0, max_task_retries=0)(_Process)


def _start_on(node_id: str) -> Any:
    """Starts a process on a node; returns before it has started."""
    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return _ProcessActor.options(scheduling_strategy=where).remote()


class _Spares:
    """Started processes that wait for a job, by node."""

    def __init__(self) -> None:
        self._by_node: dict[str, list[tuple[Any, bool]]] = {}
        self._lock = threading.Lock()

    def start(self, node_id: str) -> None:
        """Starts SPARES_PER_NODE processes on a node; returns before they have started."""
        for _ in range(SPARES_PER_NODE):
            self.give(node_id, _start_on(node_id), started=False)

    def take(self, node_id: str) -> Any | None:
        """A spare of that node that has not died, or None."""
        while True:
            with self._lock:
                waiting = self._by_node.get(node_id, [])
                if not waiting:
                    return None
                process, started = waiting.pop(0)
            answer = process.process_id.remote()
            try:
                if ray.wait([answer], timeout=ALIVE_WITHIN_S if started else 0)[0]:
                    ray.get(answer)
                elif started:
                    ray.kill(process)
                    continue
            except ray.exceptions.RayActorError:
                continue
            return process

    def give(self, node_id: str, process: Any, *, started: bool) -> None:
        """Keeps a process, or ends it when there are enough; one that is still starting will not answer at once."""
        with self._lock:
            waiting = self._by_node.setdefault(node_id, [])
            if len(waiting) < SPARES_PER_NODE:
                waiting.append((process, started))
                return
        ray.kill(process)


class RayTransport:
    """Weights and gradients as arguments and results of plain Ray calls: simple, and the reference for faster ways.

    A run of steps is submitted at once and waited for at its end: each call takes the result of the one before by
    reference, so no step waits for this process.
    """

    def __init__(self, server: Any, workers: list[Any]) -> None:
        self._server, self._workers = server, workers

    def open(self, plan: Plan, prepared: Path, state: Any, next_step: int) -> None:
        self._plan = plan
        self._weights = self._server.open_server.remote(plan, state, next_step)
        self._get([self._weights, *(worker.open_worker.remote(plan, prepared) for worker in self._workers)])

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
    """One attempt on Ray: a placement group that holds its CPUs, and processes on the nodes of its bundles."""

    def __init__(self, job: TrainingJob, spares: _Spares) -> None:
        self._spares = spares
        self._attempt = uuid.uuid4().hex
        self._ended_well = False
        self._closed = False
        self._processes: list[tuple[str, Any]] = []  # each with its node
        self._group = placement_group([{"CPU": 1}] * job.workers, strategy="PACK")
        try:
            self._begin(job)
        except BaseException:
            self.close()
            raise

    def _begin(self, job: TrainingJob) -> None:
        if not self._group.wait(timeout_seconds=PLACED_WITHIN_S):
            raise NotPlaced(f"the cluster found no place for it within {PLACED_WITHIN_S:.0f} s")
        nodes: dict[int, str] = placement_group_table(self._group)["bundles_to_node_id"]
        self._workers = [self._process(nodes[bundle]) for bundle in range(job.workers)]
        self._server, self._coordinator = self._process(nodes[0]), self._process(nodes[0])
        self._run = self._coordinator.run.remote(self._attempt, job, self._server, self._workers)

    def _process(self, node_id: str) -> Any:
        """A spare of that node, or a new process there: outside the group, with which it would be ended."""
        process = self._spares.take(node_id)
        if process is None:
            process = _start_on(node_id)
        self._processes.append((node_id, process))
        return process

    def reports(self, after: int, wait_s: float) -> list[Report]:
        try:
            found: list[Report] = ray.get(
                self._coordinator.reports.remote(self._attempt, after, wait_s), timeout=wait_s + ANSWERS_WITHIN_S
            )
            if not found and ray.wait([self._run], timeout=0)[0]:
                ray.get(self._run)  # raises what ended the run without a last report
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            died = isinstance(cause, ray.exceptions.RayError)
            raise AttemptLost(f"a process of the job died: {_first_line(cause)}") if died else loss_by(cause) from error
        except ray.exceptions.RayActorError as error:
            raise AttemptLost("the job's coordinator died") from error
        except ray.exceptions.RayError as error:
            raise AttemptLost(f"the job's coordinator does not answer: {_first_line(error)}") from error
        self._ended_well |= bool(found) and found[-1].type == "ended"
        return found

    def request(self, stop: StopRequest) -> None:
        if not self._closed:
            self._coordinator.request.remote(self._attempt, stop)

    def process_ids(self) -> dict[str, list[int]]:
        """The operating system's ids of the attempt's processes, by what they are."""
        parts = {"coordinator": [self._coordinator], "server": [self._server], "workers": self._workers}
        return {name: ray.get([part.process_id.remote() for part in actors]) for name, actors in parts.items()}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        kept = self._forgetful() if self._ended_well else []
        for node_id, process in self._processes:
            if process in kept:
                self._spares.give(node_id, process, started=True)
            else:
                ray.kill(process)
        remove_placement_group(self._group)

    def _forgetful(self) -> list[Any]:
        """The processes that have dropped the job. Waited for, as Ray keeps no order between calls of this process and
        those of the next job's coordinator."""
        dropped = {process.forget.remote(): process for _, process in self._processes}
        ready, _ = ray.wait(list(dropped), num_returns=len(dropped), timeout=FORGETS_WITHIN_S)
        return [dropped[reference] for reference in ready]


def _first_line(error: BaseException) -> str:
    """The first line of an error's message: the rest is a stack trace, which is for the log."""
    return (str(error).splitlines() or [type(error).__name__])[0]
