"""One process of a job: a gradient worker, a relay, or the coordinator with the parameter server, as it is told."""

import gc
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.util import get_node_ip_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import threadpool_limits

from shared.plan import Plan
from shared.warmup import warm
from workers.blas import kernel_in_use
from workers.coordinator import Coordinator
from workers.direct import DirectTransport
from workers.gradient_worker import GradientWorker
from workers.job import Report, StopRequest, Superseded, TrainingJob, TransportName
from workers.kernel_kills import KernelKills
from workers.link import Entrance, serve
from workers.on_ray.calls import RayCalls
from workers.on_ray.crew import Member, RayCrew, RayStaff, end_process
from workers.remote import Hub, HubGone, KeyPair, relay
from workers.transport import LocalTransport, Transport, Vectors

__all__ = ["start_on"]

BEGINS_WITHIN_S = 60.0  # for a process that is still starting to take what is asked of its attempt
LOOK_UP_EVERY_S = 0.5  # to see whether there is still anybody to live for
IDLE_FOR_S = 3600.0  # after which a process of a job ends that outlives who started it
SPARE_FOR_S = 15.0  # the same for a spare, which has no work to lose
SWITCH_INTERVAL_S = 0.0005  # a tenth of Python's own


class _Process:
    """A process that Ray has started.

    A started process costs seconds of imports, so one that ended its job in good order is kept as a spare for the next.
    Calls run one after the other, in order, but for those of group "aside", which answer while others run.
    """

    def __init__(self, *, outlives: bool, hired: bool) -> None:
        threadpool_limits(1, "blas")  # for the life of the process: a shard's bits must not depend on threads
        for dtype in ("float32", "float64"):
            warm(dtype)
        self._outlives, self._hired = outlives, hired  # whoever started it; for a job, or else a spare
        self._calls = 0  # that run now, of those that compute
        self._asked_at = time.monotonic()
        self._watch = threading.Thread(target=self._end_when_alone, args=(os.getppid(),), name="end", daemon=True)
        self._watch.start()
        # Steps take microseconds, in which the thread that tells of them must not hold the interpreter for long.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.freeze()  # what is imported stays, so that forgetting a job does not look through it
        self._changed = threading.Condition()
        self._run_of: str | None = None  # the attempt that a coordinator runs
        self._vectors: Any = None  # of a gradient worker that Ray's calls reach
        self._part: Any = None  # what this process is now: a GradientWorker or a Coordinator
        self._crew: RayCrew | None = None  # that the coordinator computes with
        self._failed: BaseException | None = None  # what a coordinator's run ended with, if not well

    def forget(self) -> None:
        """Drops all that belonged to a job."""
        with self._changed:
            self._part = self._vectors = self._crew = self._run_of = self._failed = None
        gc.collect()
        self._asked_at, self._hired = time.monotonic(), False

    @ray.method(concurrency_group="aside")
    def process_id(self) -> int:
        self._asked_at = time.monotonic()
        return os.getpid()

    @ray.method(concurrency_group="aside")
    def hire(self) -> None:
        """This is no spare any more."""
        self._asked_at, self._hired = time.monotonic(), True

    @ray.method(concurrency_group="aside")
    def attempt(self) -> str | None:
        """The attempt that this process runs as its coordinator, or has run to an end that nobody has heard of; none
        that has found a later one in its place."""
        return None if isinstance(self._failed, Superseded) else self._run_of

    def _end_when_alone(self, raylet: int) -> None:
        """Ends this process when the raylet that started it is gone, since Ray would wait for the running call, maybe
        long; and when nobody has asked it for anything for long, as whoever started it may be gone for ever."""
        while os.getppid() == raylet:
            time.sleep(LOOK_UP_EVERY_S)
            idle_for_s = IDLE_FOR_S if self._hired else SPARE_FOR_S
            if self._outlives and not self._calls and time.monotonic() > self._asked_at + idle_for_s:
                break
        os._exit(1)

    @contextmanager
    def _computing(self, role: str) -> Iterator[None]:
        self._calls += 1
        self._show(role)
        try:
            yield
        finally:
            self._show("idle")
            self._calls -= 1
            self._asked_at = time.monotonic()

    def _show(self, role: str) -> None:
        """Tells whoever looks at this process from outside, by the name of a thread, what it does. Its title, which Ray
        sets, is that of the last call that began, and of none once one has ended, whatever else still runs."""
        with suppress(OSError):
            Path(f"/proc/self/task/{self._watch.native_id}/comm").write_text(role, encoding="ascii")

    # ---- as a gradient worker
    def serve(self, entrance: Entrance, worker: int, held: range, workers: int, plan: Plan, prepared: Path) -> None:
        with self._computing("worker"):
            serve(entrance, worker, held, workers, plan, prepared)

    @ray.method(concurrency_group="aside")
    def relay_key(self) -> bytes:
        """Makes this process a relay, and tells its public key."""
        self._keys = KeyPair.new()
        return bytes(self._keys.public)

    def relay(self, hub: Hub, members: range, workers: int, plan: Plan, prepared: Path, processes: list[Any]) -> None:
        staff = RayStaff(members, processes, KernelKills())
        try:
            with self._computing("relay"):
                relay(self._keys, hub, members, workers, plan, prepared, staff)
        except HubGone:  # and maybe with it whoever would end us
            self._hired = False
            for process in processes:
                ray.kill(process)
            raise

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
        return list(self._part.evaluate(slices))

    # ---- as a coordinator
    def run(self, attempt: str, job: TrainingJob, members: list[Member], transport: TransportName) -> None:
        with self._changed:
            self._run_of = attempt
        try:
            with self._computing("coordinator"):
                self._crew = RayCrew(members)
                coordinator = Coordinator(job, *_transport(transport, job, self._crew), writes_beside=True)
                with self._changed:
                    self._part = coordinator
                    self._changed.notify_all()
                coordinator.run()
        except Superseded as error:  # nobody will ask for it any more
            self._failed, self._hired = error, False
            for member in self._crew.everybody() if self._crew is not None else []:
                end_process(member)
            raise
        except BaseException as error:
            with self._changed:
                self._failed = error
                self._changed.notify_all()
            raise

    @ray.method(concurrency_group="aside")
    def members(self, attempt: str) -> list[Member]:
        """Everybody who is in an attempt that this process runs, itself among them."""
        self._coordinator_of(attempt, BEGINS_WITHIN_S)
        context = ray.get_runtime_context()
        own = Member(0, context.get_node_id(), context.current_actor)
        return [own, *(self._crew.everybody() if self._crew is not None else [])]

    @ray.method(concurrency_group="aside")
    def reports(self, attempt: str, after: int, wait_s: float) -> list[tuple[Any, ...]]:
        """As plain tuples: sending objects of our own would take the interpreter from the steps for longer."""
        self._asked_at = time.monotonic()
        coordinator = self._coordinator_of(attempt, wait_s)
        found: list[Report] = [] if coordinator is None else coordinator.reports(after, wait_s)
        if not found and self._failed is not None:
            raise self._failed
        return [(report.number, report.type, report.data, report.at) for report in found]

    @ray.method(concurrency_group="aside")
    def request(self, attempt: str, stop: StopRequest) -> None:
        coordinator = self._coordinator_of(attempt, BEGINS_WITHIN_S)
        if coordinator is not None:
            coordinator.request(stop)

    @ray.method(concurrency_group="aside")
    def join(self, attempt: str, members: list[Member]) -> None:
        if self._coordinator_of(attempt, BEGINS_WITHIN_S) is not None and self._crew is not None:
            self._crew.join(members)

    @ray.method(concurrency_group="aside")
    def dismiss(self, attempt: str, numbers: list[int]) -> None:
        if self._coordinator_of(attempt, BEGINS_WITHIN_S) is not None and self._crew is not None:
            self._crew.dismiss(numbers)

    def _coordinator_of(self, attempt: str, wait_s: float) -> Any | None:
        """The coordinator of that attempt, waiting for it to begin. Calls aside keep no order with the others: what is
        asked of one attempt must reach neither the one before in this process nor the next."""

        def begun() -> bool:
            return self._run_of == attempt and (self._part is not None or self._failed is not None)

        with self._changed:
            return self._part if self._changed.wait_for(begun, wait_s) else None


_actor: Any = ray.remote  # its type hints know no concurrency groups
_ProcessActor = _actor(concurrency_groups={"aside": 4}, num_cpus=0, max_restarts=0, max_task_retries=0)(_Process)


def start_on(node_id: str, *, outlives: bool, hired: bool) -> Any:
    """Starts a process on a node, for a job or as a spare, which may outlive whoever calls this; returns before it has
    started."""
    options: dict[str, Any] = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)}
    if outlives:  # Ray finds what has a name
        options |= {"name": f"process-{uuid.uuid4().hex}", "lifetime": "detached"}
    return _ProcessActor.options(**options).remote(outlives=outlives, hired=hired)


def _transport(name: TransportName, job: TrainingJob, crew: RayCrew) -> tuple[Transport, list[str]]:
    """The way that vectors travel, and what a user should know about it."""
    if name == "ray":
        return RayCalls(crew.processes()), []
    try:
        return DirectTransport(job.plan, crew, get_node_ip_address()), []  # type: ignore[no-untyped-call]
    except OSError as error:
        processes = crew.processes()
        note = (
            f"no memory to share ({error.strerror}): {max(len(processes), 1)} of {job.workers} workers compute, and "
            "weights and gradients travel by Ray calls, which is slower"
        )
    fixed = RayCalls(processes) if processes else LocalTransport(1)
    crew.close(fixed.refuse)
    return fixed, [note]
