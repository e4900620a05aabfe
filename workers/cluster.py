"""Jobs on Ray: the only file that knows Ray's API.

Ray places, starts and supervises the processes of a job and reports their deaths. On a cluster that others may use
too, each job is one placement group that holds a CPU for each gradient worker. The processes run on the nodes of its
bundles, but outside it, to outlive it.
"""

import gc
import os
import shutil
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.exceptions
from ray.util import get_node_ip_address
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import threadpool_limits

from shared.errors import Unavailable
from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.warmup import warm
from workers.blas import ASKED_FOR, kernel_in_use
from workers.coordinator import Coordinator
from workers.direct import DirectTransport
from workers.failures import loss_by
from workers.gradient_worker import GradientWorker, Part
from workers.job import AttemptLost, Node, NotPlaced, Report, StopRequest, TrainingJob, TransportName
from workers.link import Entrance, Links, serve
from workers.ray_environment import TOKEN, end_leftovers
from workers.remote import Hub, KeyPair, relay
from workers.transport import LocalTransport, Transport, Vectors, busy, slices_of

__all__ = ["RayCluster"]

NAMESPACE = "chainrule"
PROBED_WITHIN_S = 10.0  # for the nodes of a cluster that runs already to say which BLAS kernel they have
PLACED_WITHIN_S = 60.0
BEGINS_WITHIN_S = 60.0  # for a process that is still starting to take a request to stop
ANSWERS_WITHIN_S = 180.0  # else a coordinator is given up; ten processes take a minute to start on two busy cores
ALIVE_WITHIN_S = 5.0  # for a spare to answer; a dead one is known sooner
LOOK_FOR_RAYLET_EVERY_S = 0.5
FORGETS_WITHIN_S = 10.0
SWITCH_INTERVAL_S = 0.0005  # a tenth of Python's own
SPARES_PER_NODE = 3  # started processes that wait for a job: enough for one of two workers
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
        self._spares = _Spares()
        self._only_node: str | None = None  # of an embedded cluster, all of whose CPUs are ours to give

    def start(self) -> None:
        options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False}
        if self._folder is None:
            asked = {ASKED_FOR: os.environ[ASKED_FOR]} if ASKED_FOR in os.environ else {}
            ray.init(address=self._address, runtime_env={"env_vars": asked} if asked else None, **options)
            for node in self.nodes():  # which sends a probe to each
                self._spares.start(node.id)
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
        self._only_node = node_id
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
        return RayRunningJob(job, self._spares, self._transport, self._only_node)

    def find(self, job: TrainingJob) -> None:
        """None: Ray ends the processes of a job with the control plane that started them."""

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
    """One process of a job, as it is told: a gradient worker, the coordinator with the parameter server, or a relay.

    A started process costs seconds of imports, so one that ended its job in good order is kept as a spare for the next.
    Calls run one after the other, in order, but for those of group "aside", which answer while others run.
    """

    def __init__(self) -> None:
        threadpool_limits(1, "blas")  # for the life of the process: a shard's bits must not depend on threads
        for dtype in ("float32", "float64"):
            warm(dtype)
        threading.Thread(target=_end_with, args=(os.getppid(),), name="end-with-raylet", daemon=True).start()
        # Steps take microseconds, in which the thread that tells of them must not hold the interpreter for long.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.freeze()  # what is imported stays, so that forgetting a job does not look through it
        self._changed = threading.Condition()
        self._run_of: str | None = None  # the attempt that a coordinator runs
        self._vectors: Any = None  # of a gradient worker that Ray's calls reach
        self._part: Any = None  # what this process is now: a GradientWorker, a Coordinator or a relay's KeyPair

    def forget(self) -> None:
        """Drops all that belonged to a job."""
        with self._changed:
            self._part = self._vectors = self._run_of = None
        gc.collect()

    @ray.method(concurrency_group="aside")
    def process_id(self) -> int:
        return os.getpid()

    # ---- as a gradient worker
    def serve(self, entrance: Entrance, worker: int, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        serve(entrance, worker, held, workers, plan, prepared)

    def relay_key(self) -> bytes:
        """Makes this process a relay, and tells its public key."""
        self._part = KeyPair.new()
        return bytes(self._part.public)

    def relay(self, hub: Hub, members: range, workers: int, plan: Plan, prepared: Path, processes: list[Any]) -> None:
        relay(self._part, hub, members, workers, plan, prepared, _Staff(members, processes))

    def open_worker(self, plan: Plan, prepared: Path, worker: int, workers: int) -> str:
        members = range(worker, worker + 1)
        self._vectors = Vectors(plan, members, workers, bytearray(Vectors.size_bytes(plan, members, workers)))
        self._part = GradientWorker(plan, prepared, self._vectors.parameters, self._vectors.gradients)
        return kernel_in_use()

    def gradients(self, weights: Any, step: int, shards: range) -> Any:
        self._vectors.parameters[:] = weights
        parts = self._part.gradients(step, shards)
        return parts, [self._vectors.gradients[part.row] for part in parts]

    def evaluate(self, weights: Any, slices: range) -> Any:
        self._vectors.parameters[:] = weights
        return self._part.evaluate(slices)

    # ---- as a coordinator
    def run(self, attempt: str, job: TrainingJob, nodes: "list[_NodeOfJob]", transport: TransportName) -> None:
        coordinator = Coordinator(job, *_transport(transport, job, nodes))
        with self._changed:
            self._part, self._run_of = coordinator, attempt
            self._changed.notify_all()
        coordinator.run()

    @ray.method(concurrency_group="aside")
    def reports(self, attempt: str, after: int, wait_s: float) -> list[tuple[Any, ...]]:
        """As plain tuples: sending objects of our own would take the interpreter from the steps for longer."""
        coordinator = self._coordinator_of(attempt, wait_s)
        found: list[Report] = [] if coordinator is None else coordinator.reports(after, wait_s)
        return [(report.number, report.type, report.data) for report in found]

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

    def replace(self, node_id: str) -> None:
        """Starts a process in the place of one that was ended, where there are too few; returns before it has."""
        with self._lock:
            enough = len(self._by_node.get(node_id, [])) >= SPARES_PER_NODE
        if not enough:
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


class _NodeOfJob(NamedTuple):
    """What a job has on one node: the first of its nodes has the coordinator, each other a relay.

    With the direct transport these are the first worker of their node, so that `workers` has only the other ones.
    """

    members: range
    workers: list[Any]
    relay: Any | None


class _Staff:
    """The processes of the gradient workers of one node, the first of whom needs none of its own."""

    def __init__(self, members: range, processes: list[Any]) -> None:
        self._workers = dict(zip(members[1:], processes, strict=True))
        self._serving: dict[int, Any] = {}

    def start(self, worker: int, entrance: Entrance, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        self._serving[worker] = self._workers[worker].serve.remote(entrance, worker, held, workers, plan, prepared)

    def look(self, worker: int) -> None:
        _raise_if_ended(self._serving[worker], f"gradient worker {worker}")


class _RelayOnRay:
    """The relay of another node."""

    def __init__(self, node: _NodeOfJob, public_key: bytes) -> None:
        self.members, self.public_key = node.members, public_key
        self._node = node

    def start(self, hub: Hub, workers: int, plan: Plan, prepared: Path) -> None:
        node = self._node
        assert node.relay is not None, "the node of the coordinator needs none"
        self._running = node.relay.relay.remote(hub, self.members, workers, plan, prepared, node.workers)

    def look(self) -> None:
        _raise_if_ended(self._running, f"the relay of gradient workers {list(self.members)}")


def _raise_if_ended(running: Any, who: str) -> None:
    if ray.wait([running], timeout=0)[0]:
        _result(running)
        raise AttemptLost(f"{who} left")


class RayTransport(Transport):
    """Weights and gradients as arguments and results of plain Ray calls: the reference for the direct transport."""

    def __init__(self, workers: list[Any]) -> None:
        super().__init__(len(workers))
        self._workers = workers

    def _connect(self) -> None:
        count, plan, prepared = self._count, self._plan, self._prepared
        opened = [worker.open_worker.remote(plan, prepared, n, count) for n, worker in enumerate(self._workers)]
        self._kernels = set(_result(opened))

    def kernels(self) -> set[str]:
        return self._kernels

    def _parts(self, step: int) -> list[Part]:
        weights, working = ray.put(self._vectors.parameters), busy(self._plan, step, self._count)
        asked = [self._workers[worker].gradients.remote(weights, step, shards) for worker, shards in working]
        placed = []
        for (worker, _), (parts, gradients) in zip(working, _result(asked), strict=True):
            mine = self._vectors.placed(worker, parts)
            for part, gradient in zip(mine, gradients, strict=True):
                self._vectors.gradients[part.row] = gradient
            placed += mine
        return placed

    def _measures(self) -> list[tuple[int, SliceMeasure]]:
        weights = ray.put(self._vectors.parameters)
        calls = zip(self._workers, slices_of(self._plan, self._count), strict=True)
        found = _result([worker.evaluate.remote(weights, mine) for worker, mine in calls if mine])
        return [pair for measured in found for pair in measured]


def _transport(name: TransportName, job: TrainingJob, nodes: list[_NodeOfJob]) -> tuple[Transport, list[str]]:
    """The way that vectors travel, and what a user should know about it."""
    processes = [worker for node in nodes for worker in node.workers]
    if name == "ray":
        return RayTransport(processes), []
    here, *others = nodes
    try:
        links = Links(job.plan, here.members, range(job.workers), job.workers)
    except OSError as error:
        note = (
            f"no memory to share ({error.strerror}): {max(len(processes), 1)} of {job.workers} workers compute, and "
            "weights and gradients travel by Ray calls, which is slower"
        )
        return (RayTransport(processes) if processes else LocalTransport(1)), [note]
    keys = _result([node.relay.relay_key.remote() for node in others if node.relay is not None])
    remote = [_RelayOnRay(node, key) for node, key in zip(others, keys, strict=True)]
    return DirectTransport(links, _Staff(here.members, here.workers), remote, get_node_ip_address()), []  # type: ignore[no-untyped-call]


def _result(references: Any) -> Any:
    """Waits for results; errors come as they were raised there, a dead process as AttemptLost."""
    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise AttemptLost(f"a process of the job died: {_first_line(error)}") from None


class RayRunningJob:
    """One attempt on Ray: processes on nodes where it holds CPUs.

    On `only_node`, if there is one, the scheduler's own count of CPUs is enough; else a placement group holds them.
    """

    def __init__(
        self, job: TrainingJob, spares: _Spares, transport: TransportName, only_node: str | None = None
    ) -> None:
        self._spares, self._transport = spares, transport
        self._attempt = uuid.uuid4().hex
        self._ended_well = False
        self._closed = False
        self._processes: list[tuple[str, Any]] = []  # each with its node
        self._group: Any = None
        try:
            self._begin(job, Counter({only_node: job.workers}) if only_node else self._placed(job.workers))
        except BaseException:
            self.close()
            raise

    def _placed(self, cpus: int) -> Counter[str]:
        """Has a placement group hold so many CPUs; tells how many of them on which node."""
        self._group = placement_group([{"CPU": 1}] * cpus, strategy="PACK")
        if not self._group.wait(timeout_seconds=PLACED_WITHIN_S):
            raise NotPlaced(f"the cluster found no place for it within {PLACED_WITHIN_S:.0f} s")
        bundles: dict[int, str] = placement_group_table(self._group)["bundles_to_node_id"]
        return Counter(bundles[bundle] for bundle in range(cpus))

    def _begin(self, job: TrainingJob, counts: Counter[str]) -> None:
        nodes: list[_NodeOfJob] = []
        for number, (node_id, count) in enumerate(counts.items()):
            first = nodes[-1].members.stop if nodes else 0
            relay = self._process(node_id) if number and self._transport == "direct" else None
            own = self._transport == "direct"  # then the coordinator, or the relay, is the node's first worker
            workers = [self._process(node_id) for _ in range(count - own)]
            nodes.append(_NodeOfJob(range(first, first + count), workers, relay))
        self._workers = [worker for node in nodes for worker in node.workers]
        self._relays = [node.relay for node in nodes if node.relay is not None]
        self._coordinator = self._process(next(iter(counts)))
        self._run = self._coordinator.run.remote(self._attempt, job, nodes, self._transport)

    def _process(self, node_id: str) -> Any:
        """A spare of that node, or a new process there: outside the group, with which it would be ended."""
        process = self._spares.take(node_id)
        if process is None:
            process = _start_on(node_id)
        self._processes.append((node_id, process))
        return process

    def reports(self, after: int, wait_s: float) -> list[Report]:
        try:
            told = ray.get(
                self._coordinator.reports.remote(self._attempt, after, wait_s), timeout=wait_s + ANSWERS_WITHIN_S
            )
            found = [Report(*each) for each in told]
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
        parts = {"coordinator": [self._coordinator], "workers": self._workers, "relays": self._relays}
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
                self._spares.replace(node_id)
        if self._group is not None:
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
