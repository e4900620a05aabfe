"""Who computes on how many CPUs: which waiting jobs start, and which running ones grow, shrink or give way.

Jobs start strictly in order, by priority, then by what their tenants have, then by age (`service/fairness.py`): nobody
starts before the first that waits, even one that would fit into what is free now. So a job that needs many CPUs is not
starved by a stream of small ones: once CPUs are kept free for it, it keeps its place, too. Stepped over are jobs that
need more than the whole cluster has, that are not to be tried again yet, or whose tenant has reached its quota.

For the first that waits, running jobs of lower priority make room: they shrink, down to their least, where that is
enough for it to start; else some are preempted. Of equal priority nobody makes room. CPUs that have been free for a
while, and that nobody waits for, go to running jobs. None of this changes a bit of what is trained.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from service.database import DEFAULT_TENANT
from service.fairness import Allowances, Sharing, Turns
from service.jobs import cpus_said, preempted

__all__ = ["Cpus", "Decision", "IdleCpus", "Running", "Waiting", "decide"]

HOLDS_S = 5.0  # CPUs are kept for a job that is to be tried again so soon: lower ones would only have to give them back
TOLD = 20  # jobs that are told their place: to tell each of thousands, whenever one moves, costs more than it says
BEHIND_QUOTA = "waits for its turn behind a job of its tenant that the tenant's quota holds back"
ALONE = Sharing()


@dataclass(frozen=True)
class Cpus:
    """The CPUs of the cluster. `free` is below 0 where jobs hold CPUs of a node that has left; `idle` are those of the
    free ones that have been so for a while."""

    total: int
    free: int
    idle: int = 0


@dataclass(frozen=True)
class Waiting:
    """A job that waits for CPUs: it starts with `cpus_min` at least and takes `cpus_max` at most."""

    id: str
    cpus_min: int
    cpus_max: int
    priority: int = 0
    paused: bool = False
    preempted_by: str | None = None
    """For whom it gave way, in words that its tenant may read."""
    due_in_s: float = 0.0
    """How long it is not to be tried again; its reason says so already."""
    tenant: str = DEFAULT_TENANT
    age: int = 0
    """Its number in the order of submission."""
    reserved_at: str | None = None
    """Since when CPUs are kept free for it."""
    served_at: str | None = None
    """When a job of its tenant was last given CPUs."""


@dataclass(frozen=True)
class Running:
    """An attempt that holds `cpus`: it computes on `workers` and was asked, last, to compute on `wanted`."""

    id: str
    cpus_min: int
    cpus_max: int
    priority: int
    age: int
    workers: int
    wanted: int
    cpus: int
    stopping: bool = False
    """Whether it has been asked to stop, so that all its CPUs will be free."""
    overdue: bool = False
    """Whether it has computed on more or fewer than wanted for too long."""
    tenant: str = DEFAULT_TENANT

    @property
    def spare(self) -> int:
        """CPUs that it can do without."""
        return max(0, self.wanted - self.cpus_min)


@dataclass(frozen=True)
class Decision:
    """What is to happen: jobs that start with so many CPUs, that go on with so many, that are paused for the sake of
    another, and what each that waits, waits for."""

    starts: dict[str, int] = field(default_factory=dict)
    resizes: dict[str, int] = field(default_factory=dict)
    preempts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    reserves: str | None = None
    """The job for which CPUs are kept free from now on."""
    waits: list[Waiting] = field(default_factory=list, compare=False)
    """Those that wait for CPUs alone, in the order in which they get them."""


def decide(waiting: Sequence[Waiting], running: Sequence[Running], cpus: Cpus, sharing: Sharing = ALONE) -> Decision:
    """Decides for jobs that wait, of each tenant by priority and then by age, and for those that run."""
    decision = Decision()
    in_use = sharing.in_use(running)
    turns, allowances = Turns(waiting, sharing, in_use), Allowances(sharing, in_use)
    running = _without_overdue(running, decision)
    soon = [job for job in waiting if 0 < job.due_in_s <= HOLDS_S and job.cpus_min <= cpus.total]
    free, before, reserves = cpus.free, 0, None
    held_back: set[str] = set()
    waits = any(job.due_in_s > 0 and job.cpus_min <= cpus.total for job in waiting)
    for job in turns:
        if job.due_in_s > 0:
            continue
        its = free - sum(other.cpus_min for other in soon if other.priority > job.priority)
        if job.cpus_min > cpus.total:
            needs = f"needs {cpus_said(job.cpus_min)} at once; the cluster has {cpus.total}"
            decision.reasons[job.id] = _resuming(job) + needs
        elif job.tenant in held_back or (refused := allowances.why_not(job)):
            decision.reasons[job.id] = _resuming(job) + (BEHIND_QUOTA if job.tenant in held_back else refused or "")
            held_back |= {job.tenant} if allowances.can_ever(job) else set()
        elif before == 0 and its >= job.cpus_min:
            gets = decision.starts[job.id] = allowances.most(job.tenant, min(job.cpus_max, its))
            allowances.take(job.tenant, gets, jobs=1)
            turns.count(job, gets)
            free -= gets
        else:
            decision.reasons[job.id] = _reason(job, free, cpus.total, before, kept=free - its)
            decision.waits.append(job)
            turns.count(job, job.cpus_min)
            if before == 0:
                reserves = job.id if its > 0 and job.reserved_at is None else None
                _make_room(job, its, running, decision)
            before += 1
    if before == 0 and not waits:
        _grow(running, min(free, cpus.idle), decision, allowances)
    return replace(decision, reserves=reserves)


# ---------------------------------------------------------------- running jobs
def _without_overdue(running: Sequence[Running], decision: Decision) -> list[Running]:
    """Takes back what jobs were given beyond their least, and could not make use of: that they keep, for whoever they
    lost. Who does not shrink can spare nothing, so that it is preempted where that is needed."""
    kept = []
    for job in running:
        if job.overdue and not job.stopping:
            if job.workers > job.wanted:
                job = replace(job, cpus_min=job.workers, wanted=job.workers)
            elif (uses := max(job.workers, job.cpus_min)) < job.wanted:
                decision.resizes[job.id] = uses
                job = replace(job, wanted=uses)
        kept.append(job)
    return kept


def _make_room(job: Waiting, free: int, running: Sequence[Running], decision: Decision) -> None:
    """Has jobs of lower priority shrink or pause, if `job` can start then and could not otherwise."""
    coming = sum(other.cpus if other.stopping else other.cpus - other.wanted for other in running)
    missing = job.cpus_min - free - coming
    if missing <= 0:
        return
    below = [other for other in running if other.priority < job.priority and not other.stopping]
    below.sort(key=lambda other: (other.priority, -other.age))
    victims = _victims(below, missing - sum(other.spare for other in below))
    for other in victims or ():
        decision.resizes.pop(other.id, None)
        is_its_own = job.tenant == other.tenant  # of another tenant's job nobody is told
        decision.preempts[other.id] = (
            f"{job.id} (priority {job.priority})" if is_its_own else "a job of higher priority"
        )
        missing -= other.wanted
    if victims is None:
        return
    for other in below:
        gives = min(other.spare, missing)
        if other not in victims and gives > 0:
            decision.resizes[other.id] = other.wanted - gives
            missing -= gives


def _victims(below: Sequence[Running], missing: int) -> list[Running] | None:
    """Which of the jobs to pause so that `missing` CPUs become free beyond what all can spare; None where all of them
    are not enough. `below` is in order: of the lowest priorities that are enough, as few as possible, the newest."""
    if missing <= 0:
        return []
    least = {job.id: job.wanted - job.spare for job in below}
    levels = ([job for job in below if job.priority <= level] for level in sorted({job.priority for job in below}))
    able = next((jobs for jobs in levels if sum(least[job.id] for job in jobs) >= missing), None)
    if able is None:
        return None
    chosen: list[Running] = []
    fewest = _how_many(sorted((least[job.id] for job in able), reverse=True), missing)
    for number, job in enumerate(able, 1):
        after = sorted((least[other.id] for other in able[number:]), reverse=True)[: fewest - len(chosen) - 1]
        if len(chosen) < fewest and least[job.id] + sum(after) >= missing:
            chosen.append(job)
            missing -= least[job.id]
    return chosen


def _how_many(sizes: Sequence[int], missing: int) -> int:
    """How many of the sizes, from the first on, it takes to have `missing`."""
    total, count = 0, 0
    while total < missing:
        total += sizes[count]
        count += 1
    return count


def _grow(running: Sequence[Running], idle: int, decision: Decision, allowances: Allowances) -> None:
    """Gives CPUs that nobody waits for to jobs that can use them: by priority, then by age."""
    for job in sorted(running, key=lambda job: (-job.priority, job.age)):
        settled = job.workers == job.wanted == job.cpus and not job.stopping
        more = allowances.most(job.tenant, min(job.cpus_max - job.wanted, idle))
        if settled and more > 0:
            decision.resizes[job.id] = job.wanted + more
            allowances.take(job.tenant, more)
            idle -= more


class IdleCpus:
    """How many CPUs have been free all the time, for a while: what comes and goes is nothing to grow into."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, now: float, free: int) -> int:
        """Takes in that so many are free from now on, and tells how many have been for all of the while."""
        self._seen.append((now, free))
        begin = now - self._for_s
        while len(self._seen) > 1 and self._seen[1][0] <= begin:
            self._seen.popleft()
        return max(0, min(free for _, free in self._seen)) if self._seen[0][0] <= begin else 0


# ---------------------------------------------------------------- what jobs are told
def _resuming(job: Waiting) -> str:
    if job.preempted_by is not None:
        return f"preempted by {job.preempted_by}; "
    return "resumes when it is its turn: " if job.paused else ""


def _reason(job: Waiting, free: int, total: int, before: int, kept: int) -> str:
    if job.preempted_by is not None:
        return preempted(job.preempted_by, job.cpus_min)
    if before > TOLD:
        return f"{_resuming(job)}waits for its turn: more than {TOLD} jobs are before it"
    free = max(0, free)
    what = "a free CPU" if job.cpus_min == 1 else f"{job.cpus_min} free CPUs at once"
    behind = f"; {before} {'job' if before == 1 else 'jobs'} before it" if before else ""
    kept_for = f", {kept} kept for a job of higher priority that is tried again soon" if kept else ""
    are_free = f"{free} of {total} {_are(free)} free"
    return f"{_resuming(job)}waits for {what}: needs {job.cpus_min}, {are_free}{kept_for}{behind}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
