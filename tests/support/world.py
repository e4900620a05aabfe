"""A whole service in one thread, with a clock, a cluster and accidents that a test decides.

Store, runners, heartbeat and scheduler are the real ones, step by step instead of in threads; the database is SQLite in
memory. There may be two control planes, which take turns.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from ulid import ULID

from service.catalog import Catalog, NewDataset
from service.clock import later
from service.database import Database, jobs, tenants
from service.fairness import InUse
from service.heartbeat import Heartbeat
from service.jobs import MOVES, JobState, Verb
from service.owner import Owner
from service.patience import Patience
from service.places import Places
from service.quota import Quota
from service.runner import Attempt, Runner, Runners
from service.scheduler import Scheduler
from service.store import Store
from service.submission import NewJob
from service.takeover import Takeover
from shared.errors import Unavailable
from shared.plan import Plan
from shared.spec import JobSpec
from shared.table import Column, TableFile
from support.clusters import ScriptedCluster, ScriptedJob
from support.jobs import TENANT
from workers.failures import MAX_INTERNAL_ERRORS, MAX_LOSSES_WITHOUT_PROGRESS, MAX_OUT_OF_MEMORY
from workers.job import AttemptLost, InternalError, Node, NotPlaced, OutOfMemory, Sought, TrainingJob

TENANTS = (TENANT, "blue", "green")
BEGAN_AT = "2026-11-24T00:00:00.000000Z"
YEARS_S = 1.8e9  # since 1970, about: that the database tells another time than the service is no matter
TABLE = TableFile(dataset_id="ds_1", path="", rows=3, sha256="a" * 64, columns=[Column(name="y", type="number")])
SIZES = ("inputs", "outputs", "parameters", "training_rows", "validation_rows", "steps_per_epoch", "steps")
PLAN = Plan(
    spec=JobSpec.model_validate({"dataset": "numbers", "target": "y"}),
    classes=None,
    memory_bytes=1,
    disk_bytes=1,
    notes=[],
    **dict.fromkeys(SIZES, 1),
)


class SimulatedJob(ScriptedJob):
    """An attempt that does what it is asked to when the test lets it `heed`."""

    def __init__(self, job: TrainingJob, room: Callable[[], int]) -> None:
        super().__init__(job)
        self._room = room
        self.resizes_at_once = False
        self.computes_on = self.asked_for = job.workers
        self.missing = 0  # workers that are to be replaced as soon as there is a place for them
        self.ended_by: str | AttemptLost | None = None
        """The outcome that it told, or else what became of it."""

    @property
    def cpus(self) -> int:
        """CPUs that its processes are on: those that are to join it have started."""
        return 0 if self.closed.is_set() else max(self.computes_on, self.asked_for)

    @property
    def over(self) -> bool:
        return self.ended_by is not None

    @property
    def is_asked(self) -> bool:
        """Whether it has something to heed."""
        asked = not self.requests.empty() or not self.resizes.empty() or self.computes_on != self.asked_for
        return asked and not self.over

    def resize(self, workers: int) -> None:
        fits = min(workers, self.cpus + self._room())  # a node may have left since it was decided
        self.asked_for, self.missing = fits, workers - fits
        super().resize(workers)

    def heed(self) -> None:
        """Stops, if it was asked to; else computes on as many CPUs as it was asked to, and says so."""
        if self.over:
            return
        if stops := list(self.requests.queue):
            self.finish("cancelled" if "cancel" in stops else "paused")
        elif self.is_asked:
            self.resizes.queue.clear()
            self.computes_on = self.asked_for
            self.compute_on(self.computes_on)

    def lose_worker(self) -> None:
        """One of its workers dies; another is to replace it."""
        if self.computes_on > 1 and not self.over:
            self.computes_on -= 1
            self.compute_on(self.computes_on, "a worker died")

    def lose_workers(self, left: int) -> None:
        """A node dies with all of its workers but so many, and there is nowhere to replace them yet."""
        self.missing += max(0, self.asked_for - left)
        self.asked_for = min(self.asked_for, left)
        self.computes_on = min(self.computes_on, left)
        self.compute_on(self.computes_on, "a node died")

    def replace_workers(self, room: int) -> None:
        """A node joins, with so many CPUs that nobody uses."""
        replaced = 0 if self.over else min(self.missing, room)
        self.asked_for, self.missing = self.asked_for + replaced, self.missing - replaced

    def finish(self, outcome: str, **data: Any) -> None:
        if not self.over:
            self.ended_by = outcome
            self.end(outcome, **data)

    def lose(self, loss: str | AttemptLost) -> None:
        self.ended_by = AttemptLost(loss) if isinstance(loss, str) else loss
        super().lose(loss)


class SimulatedCluster(ScriptedCluster):
    """Knows every attempt that has not been closed; while it is `crowded`, it has no place for any. One that `keeps`
    attempts has them go on when their control plane is gone."""

    def __init__(self, cpus: int, *, keeps: bool = False) -> None:
        super().__init__(cpus)
        self.keeps_attempts = keeps
        self.crowded = self.is_away = False
        self.attempts: list[SimulatedJob] = []
        self.of_job: dict[str, list[SimulatedJob]] = defaultdict(list)
        """All that there ever were."""
        self.has_shrunk = False
        """Whether CPUs on which somebody was about to launch an attempt may be gone."""
        self.wrong: list[str] = []
        """What must not have been asked for; the runner that asked would take an exception for a lost attempt."""

    def nodes(self) -> list[Node]:
        if self.is_away:
            raise Unavailable("it does not answer")
        return super().nodes()

    def launch(self, job: TrainingJob) -> SimulatedJob:
        self.attempts = self.open()
        if job.id in {attempt.job.id for attempt in self.attempts}:
            self.wrong.append(f"{job.id} runs twice")
        fits = self.in_use() + job.workers <= self.cpus
        if not fits and not self.has_shrunk:
            self.wrong.append(f"{job.id} is launched on CPUs that are not free")
        if self.crowded or not fits:
            raise NotPlaced("the cluster found no place for it within 60 s")
        self.attempts.append(SimulatedJob(job, self.room))
        self.of_job[job.id].append(self.attempts[-1])
        return self.attempts[-1]

    def find(self, sought: Sequence[Sought]) -> Mapping[str, SimulatedJob]:
        wanted = {(each.job_id, each.attempt) for each in sought if self.keeps_attempts}
        return {each.job.id: each for each in self.open() if (each.job.id, each.job.attempt) in wanted}

    def in_use(self) -> int:
        return sum(attempt.cpus for attempt in self.open())

    def room(self) -> int:
        return max(0, self.cpus - self.in_use())

    def open(self) -> list[SimulatedJob]:
        return [attempt for attempt in self.attempts if not attempt.closed.is_set()]

    def resize(self, cpus: int) -> None:
        """Nodes join or leave, with the processes on them: the newest attempts lose theirs."""
        self.has_shrunk |= cpus < self.cpus
        self.cpus = cpus
        for attempt in self.open():
            attempt.replace_workers(self.room())
        for attempt in reversed(self.open()):
            over = self.in_use() - cpus
            if over <= 0:
                return
            if attempt.cpus > over and not attempt.over:
                attempt.lose_workers(attempt.cpus - over)
            else:
                attempt.lose("a node died")
                attempt.close()


class Plane:
    """A control plane of a world."""

    def __init__(self, world: "World", *, at_once: bool) -> None:
        def clock() -> float:
            return world.clock

        owner = Owner(world.connected_to, sa.bindparam("time", type_=sa.Double(), callable_=clock))
        self.store = Store(world.connected_to, world.untold.append, world.wall_clock, owner, patience=world.patience)
        job_of, on_end = world.job_of, world.nothing

        def start(runner: Runner) -> None:  # by a plane that was given up too: among those that there are then
            world.runners.append(runner)

        self.runners = Runners(self.store, world.cluster, job_of, world.nothing, on_end, clock, start)
        self.heartbeat = Heartbeat(owner, self.runners, clock)
        self.takeover = Takeover(self.store, self.runners, on_end, at_once=at_once, clock=clock)
        self.places = Places(self.store.queue, clock, world.wall_clock)
        of_world = world.wall_clock, lambda: world.quotas, self.places
        self.scheduler = Scheduler(self.store, world.cluster, self.runners, self.takeover, clock, *of_world)


class World:
    """Everything, on a database that is emptied first. What moved is checked, and kept in `moves`, by `check`."""

    def __init__(self, database: Database, cpus: int = 4, *, keeps_attempts: bool = False, planes: int = 1) -> None:
        self.clock, self.wall_offset_s = 0.0, 0.0
        self.moves: list[tuple[str, dict[str, Any]]] = []
        self.jobs: list[str] = []
        self.submitted_at: dict[str, float] = {}
        self.asked: dict[str, set[Verb]] = defaultdict(set)
        """What users asked of each job, as far as it was not refused."""
        self.quotas: dict[str, Quota] = {}
        self.untold: list[str] = []  # jobs of which something was written that has not been checked yet
        self.by_job: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.connected_to = database
        with database.writing() as connection:
            connection.execute(sa.delete(jobs))
            connection.execute(sa.update(tenants).values(served_at=None))
        self.cluster = SimulatedCluster(cpus, keeps=keeps_attempts)
        # One for all starts: who waits while the clock is set and the service then starts anew may be cut short.
        self.patience = Patience(lambda _: self.clock + self.wall_offset_s + YEARS_S, lambda: self.clock)
        self.hanging: list[Plane] = []
        """Control planes that were given up for dead, and are not."""
        self.stale: list[Runner] = []
        """Their runners."""
        self.runners: list[Runner] = []
        self._planes = planes
        self.start()

    @staticmethod
    def database() -> Database:
        """In memory, with a data set of each tenant."""
        database = Database("sqlite://")
        database.migrate()
        with database.writing() as connection:
            rows = [{"name": name, "created_at": BEGAN_AT} for name in TENANTS if name != TENANT]
            connection.execute(sa.insert(tenants), rows)
        for tenant in TENANTS:
            new = NewDataset(f"ds_of_{tenant}", tenant, "numbers", 10, "csv", TABLE, 10)
            Catalog(database, None).add(new)  # type: ignore[arg-type]
        return database

    def start(self) -> None:
        """The service starts, on what it finds in the database."""
        self.runners = []
        # The first takes all jobs that it finds, the others renew the leases of their own.
        self.planes = deque(Plane(self, at_once=number == 0) for number in range(self._planes))
        first = self.planes[0]
        self.store, self.places, self.scheduler = first.store, first.places, first.scheduler
        first.takeover.look()

    def kill(self) -> None:
        """The service dies with all its processes, and starts again."""
        for attempt in self.cluster.open():
            attempt.ended_by = "killed"
            attempt.close()
        self.start()

    def replace(self) -> None:
        """Another control plane takes over, while this one hangs. Attempts go on where the cluster keeps them."""
        if not self.cluster.keeps_attempts:
            self.kill()
            return
        for runner in self.runners:
            if runner._running is None:  # what it launches later is refused by a file, of which there is none here
                runner._on_end(runner)
            else:
                self.stale.append(runner)
        self.hanging += self.planes
        self.start()

    def wake(self, first: Literal["runners", "heartbeat", "scheduler"]) -> None:
        """Those that were given up go on from where they were, and find out: one of their threads does so `first`. From
        then on they are control planes like any other."""
        if first == "heartbeat":
            for plane in self.hanging:
                plane.heartbeat.beat()
        if first == "scheduler":
            for plane in self.hanging:
                plane.scheduler.step()
        self.planes += self.hanging
        self.hanging.clear()
        self.stale = [runner for runner in self.stale if not runner.step(0.0)]

    def wall_clock(self) -> str:
        return later(BEGAN_AT, self.clock + self.wall_offset_s)

    def job_of(self, attempt: Attempt) -> TrainingJob:
        return TrainingJob(attempt.job_id, attempt.number, PLAN, TABLE, None, "", attempt.workers, epoch=attempt.epoch)

    def tenant_of(self, job_id: str) -> str:
        return str(self.store.any_job(job_id).tenant)

    def nothing(self, *_: Any) -> None:
        return

    # ------------------------------------------------------------ what users do
    def submit(self, cpus_min: int, cpus_max: int, priority: int, tenant: str = TENANT, **spec: Any) -> str:
        workers = {"min": cpus_min, "max": cpus_max}
        whole = {"dataset": "numbers", "target": "y", "workers": workers, "priority": priority, **spec}
        plan = PLAN.model_copy(update={"spec": JobSpec.model_validate(whole)})
        job, _ = self.store.add(NewJob(f"job_{ULID()}", tenant, plan, f"ds_of_{tenant}", "a" * 64))
        self.jobs.append(str(job.id))
        self.submitted_at[self.jobs[-1]] = self.clock
        return self.jobs[-1]

    def request(self, job_id: str, verb: Verb) -> None:
        """As the control plane does it."""
        job = self.store.request(self.tenant_of(job_id), job_id, verb)
        self.asked[job_id].add(verb)
        if job.state == JobState.RUNNING and job.requested in ("pause", "cancel"):
            self.planes[0].runners.request(job_id, job.requested)

    # ------------------------------------------------------------ what the service does
    def follow(self) -> None:
        """Each runner makes a step."""
        for runner in list(self.runners):
            if runner.step(0.0):
                self.runners.remove(runner)
        self.cluster.has_shrunk = False

    def beat(self) -> None:
        """Each control plane renews its leases, and hears what was asked of its jobs at the others."""
        for plane in self.planes:
            plane.heartbeat.beat()

    def turn(self) -> None:
        self.follow()
        self.beat()
        before = self.in_use()
        for plane in self.planes:
            plane.scheduler.step()
        self.beat()
        self.planes.rotate()
        for tenant, has in self.in_use().items():
            quota, had = self.quotas.get(tenant, Quota()), before[tenant]
            assert has.jobs <= had.jobs or quota.running_jobs is None or has.jobs <= quota.running_jobs, (tenant, has)
            assert has.cpus <= had.cpus or quota.cpus is None or has.cpus <= quota.cpus, (tenant, has)

    def settle(self) -> None:
        """Every attempt heeds what it is asked, until nothing more is asked."""
        for _ in range(100):
            before = len(self.moves)
            for attempt in self.cluster.open():
                attempt.heed()
            self.turn()
            self.follow()
            self.check()
            if before == len(self.moves) and not any(attempt.is_asked for attempt in self.cluster.open()):
                return
        raise AssertionError(f"nothing settles: {self.moves[-10:]}")

    # ------------------------------------------------------------ what must be true
    def _check_moves(self, job_id: str) -> None:
        """Each move of a job goes on where the one before ended, as the table allows; attempts are counted."""
        known = self.by_job[job_id]
        rows, state = self.store.events_after(
            self.tenant_of(job_id), job_id, len(known) and known[-1]["seq"], 100, kind="state"
        )
        for row in rows:
            move = {**row.data, "seq": row.seq}
            before = known[-1]["to"] if known else None
            assert move["from"] == before, (known, move)
            assert (before, JobState(move["to"])) in MOVES
            known.append(move)
            self.moves.append((job_id, move))
            assert move["attempt"] == sum(each["to"] == JobState.QUEUED for each in known), known
            assert move["reason"]
            assert not move["reason"].startswith("the service stopped"), "it never does, but is killed or hangs"
            if move["reason"].startswith("waited longer than max_wait_s"):
                limit_s = self.store.any_job(job_id).plan["spec"]["max_wait_s"]
                assert self.clock - self.submitted_at[job_id] >= limit_s, "whatever the clocks are set to"
        assert state == known[-1]["to"]

    def check(self) -> None:
        assert self.cluster.wrong == []
        for job_id in self.untold:
            self._check_moves(job_id)
        self.untold.clear()
        used = self.cluster.in_use()
        assert used <= self.cluster.cpus, f"{used} of {self.cluster.cpus} CPUs are in use"
        running = {lease.job_id for lease in self.store.owner.leases()}
        followed = {runner.attempt.job_id for runner in self.runners}
        assert running == followed, "a job is running if and only if a runner follows it"

    def check_priorities(self) -> None:
        """Once all has settled, nobody waits behind jobs of lower priority that could give way."""
        everybody = self.store.queue.head(self.cluster.cpus)
        waiting = [job for job in everybody if not self._is_to_be_tried_later(job)]
        able = [job for job in waiting if not self._is_held_back(job, waiting)]
        first = max((job.priority for job in able), default=0)
        free = self.cluster.cpus - self.cluster.in_use()
        free -= sum(job.cpus_min for job in everybody if job not in waiting and job.priority > first)
        able = [job for job in able if job.priority == first]
        lower = [runner.state() for runner in self.runners if runner.attempt.priority < first]
        could = free + sum(attempt.cpus for attempt in lower)
        assert not able or any(could < job.cpus_min for job in able), f"{able} wait for {lower}"

    def _is_held_back(self, job: Any, waiting: Sequence[Any]) -> bool:
        """Whether the quota of its tenant keeps a job, or one of the tenant's before it, from starting."""
        quota, has = self.quotas.get(job.tenant, Quota()), self.in_use()[job.tenant]
        before = [each for each in waiting if each.tenant == job.tenant and each.priority >= job.priority]
        return any(
            (quota.running_jobs is not None and has.jobs >= quota.running_jobs)
            or (quota.cpus is not None and has.cpus + each.cpus_min > quota.cpus)
            for each in before
            if each.id == job.id or ((-each.priority, each.number) < (-job.priority, job.number) and self._could(each))
        )

    def _could(self, job: Any) -> bool:
        limit = self.quotas.get(job.tenant, Quota()).cpus
        return limit is None or job.cpus_min <= limit

    def in_use(self) -> dict[str, InUse]:
        """What the attempts hold, by tenant."""
        found: dict[str, InUse] = defaultdict(InUse)
        for runner in self.runners:
            found[runner.attempt.tenant] += InUse(1, runner.state().cpus)
        return found

    def _is_to_be_tried_later(self, job: Any) -> bool:
        return job.retry_at is not None and job.retry_at > self.wall_clock()

    def check_preemptions(self) -> None:
        """Only lower jobs are preempted, and none twice for a job that has not moved in between."""
        last: dict[tuple[str, str], int] = {}
        for number, (job_id, move) in enumerate(self.moves):
            if not move["reason"].startswith("preempted by "):
                continue
            by = move["reason"].removeprefix("preempted by ").split()[0]
            if by == "a":  # … job of higher priority: another tenant's, of which nothing is told
                low, others = self.store.any_job(job_id), map(self.store.any_job, self.jobs)
                assert any(job.priority > low.priority and job.tenant != low.tenant for job in others), job_id
                continue
            assert self.store.any_job(by).priority > self.store.any_job(job_id).priority, (job_id, by)
            since = last.get((job_id, by))
            assert since is None or any(moved == by for moved, _ in self.moves[since:number]), (job_id, by)
            last[job_id, by] = number

    def finish(self) -> None:
        """Nothing happens any more but that jobs train to their end: then every one has ended as it is entitled to,
        unless a user paused it or it is too large."""
        self.cluster.crowded = False
        self.quotas.clear()
        for _ in range(3 * len(self.jobs) + 20):
            self.settle()
            self.check()
            if all(attempt.over for attempt in self.cluster.open()):
                self.clock += 61
            for attempt in self.cluster.open():
                attempt.finish("succeeded")
        for job_id in self.jobs:
            job = self.store.any_job(job_id)
            assert self._is_entitled(job), f"{job_id} is {job.state}: {job.reason}, asked for: {self.asked[job_id]}"

    def _is_entitled(self, job: Any) -> bool:
        """Whether what happened to a job is why it is where it is."""
        asked, ended_by = self.asked[job.id], [attempt.ended_by for attempt in self.cluster.of_job[job.id]]
        match JobState(job.state):
            case JobState.SUCCEEDED:
                return ended_by[-1] == "succeeded" and "cancel" not in asked
            case JobState.CANCELLED:
                return "cancel" in asked
            case JobState.FAILED:
                return self._may_fail(job, ended_by)
            case JobState.PAUSED if job.reason.startswith("paused by request"):
                return "pause" in asked and "cancel" not in asked
        return bool(job.cpus_min > self.cluster.cpus)

    def _may_fail(self, job: Any, ended_by: Sequence[Any]) -> bool:
        """Whether a job that failed was entitled to, for what its error says; it may have been lost more often than the
        service was there to see."""
        lines, _ = self.store.log_after(job.tenant, job.id, 0, 1000)
        kept = max((line.attempt for line in lines if line.message.startswith("the checkpoint of step")), default=0)
        numbers = [attempt.job.attempt for attempt in self.cluster.of_job[job.id]]
        since = [end for number, end in zip(numbers, ended_by, strict=True) if number >= kept]
        match job.error["type"]:
            case "TrainingError":
                return bool(ended_by[-1] == "failed")
            case "WaitedTooLong":  # that it waited for so long, each move tells
                return all(move["to"] != JobState.RUNNING for move in self.by_job[job.id])
            case "OutOfMemory" if _count(OutOfMemory, ended_by) >= MAX_OUT_OF_MEMORY:
                return True
            case "InternalError" if _count(InternalError, since) >= MAX_INTERNAL_ERRORS:
                return True
        return _count(AttemptLost, since) >= MAX_LOSSES_WITHOUT_PROGRESS


def _count(kind: type, ended_by: Sequence[Any]) -> int:
    return sum(isinstance(end, kind) for end in ended_by)
