"""Whatever control planes do, sleep through or do too late, in whatever order: a job has one owner, and is not lost."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.database import Database, metadata
from service.jobs import JobState, Move, Verb, after_end, after_interruption
from service.leases import LEASE_S, RENEW_S, WATCH_S, Lease, Watched, watch
from service.owner import Held, Owner
from service.store import Store, Told
from shared.errors import Conflict
from support.jobs import TENANT, new_job, with_a_dataset
from support.races import LONG

PLANES = st.integers(0, 2)
JOBS = st.integers(0, 3)
STARTED = Move(JobState.RUNNING, "started")


@dataclass
class Plane:
    """One control plane as far as jobs are concerned: what it believes to hold, and the leases that it watches."""

    store: Store
    held: set[Held] = field(default_factory=set)
    watched: dict[str, Watched] = field(default_factory=dict)


class Ownership(RuleBasedStateMachine):
    """A control plane sleeps when none of its rules comes; then it goes on with what it believed."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.ahead, self.jumped = 1_000.0, 0.0, False
        self.database = Database("sqlite://")
        with self.database.writing() as connection:
            metadata.create_all(connection)
        self.folder = tempfile.TemporaryDirectory()
        with_a_dataset(self.database, Path(self.folder.name))
        self.planes = [self.new_plane() for _ in range(3)]
        self.jobs: list[str] = []
        self.renewed_at: dict[str, float] = {}  # by job, when its lease was last given or renewed
        self.wrote: dict[Held, int] = {}  # the control plane whose writes were taken in
        self.seen: dict[str, Any] = {}  # each job as it was after the rule before
        for plane in range(2):
            self.somebody_submits(plane)
            self.starts_what_waits(plane)

    def new_plane(self) -> Plane:
        time = sa.bindparam("database_time", type_=sa.Double(), callable_=lambda: self.now + self.ahead)
        return Plane(Store(self.database, owner=Owner(self.database, time)))

    def teardown(self) -> None:
        """All sleep for ever: one that starts now gets every job that was running."""
        heir, self.ahead = self.new_plane(), 0.0
        for _ in range(4):
            for lease in self.over(heir):
                self.take(heir, lease, adopts=False)
            self.now += LEASE_S
        self.all_is_well()
        assert heir.store.owner.leases() == []
        self.database.close()
        self.folder.cleanup()

    # ------------------------------------------------------------ time
    @rule(seconds=st.sampled_from([0.5, 3.0, LEASE_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([-86_400.0, -10.0, 10.0, 86_400.0]))
    def the_databases_clock_jumps(self, seconds: float) -> None:
        self.ahead, self.jumped = self.ahead + seconds, True

    # ------------------------------------------------------------ users
    @precondition(lambda self: len(self.jobs) < 4)
    @rule(plane=PLANES)
    def somebody_submits(self, plane: int) -> None:
        self.jobs.append(self.planes[plane].store.add(new_job())[0].id)

    @precondition(lambda self: self.jobs)
    @rule(plane=PLANES, job=JOBS, verb=st.sampled_from(["pause", "resume", "cancel"]))
    def somebody_asks(self, plane: int, job: int, verb: Verb) -> None:
        job_id = self.jobs[job % len(self.jobs)]
        before = self.planes[plane].store.any_job(job_id)
        try:
            after = self.planes[plane].store.request(TENANT, job_id, verb)
        except Conflict:
            assert self.planes[plane].store.any_job(job_id) == before
        else:
            assert after.epoch == before.epoch + (after.state != before.state)

    # ------------------------------------------------------------ control planes
    @rule(plane=PLANES)
    def starts_what_waits(self, plane: int) -> None:
        at = self.planes[plane]
        for row in at.store.queue.head()[:1]:
            job = at.store.move(row.id, row.epoch, JobState(row.state), lambda _: STARTED, workers=1)
            assert job is not None
            at.held.add((job.id, job.epoch))
            self.renewed_at[job.id] = self.now

    @rule(plane=PLANES)
    def renews(self, plane: int) -> None:
        at = self.planes[plane]
        held, _ = at.store.owner.renew(at.held)
        assert set(held) == {key for key in at.held if self.owns(at, key)}
        at.held = set(held)
        self.renewed_at |= dict.fromkeys([job_id for job_id, _ in held], self.now)

    @rule()
    def all_write_what_their_attempts_tell(self) -> None:
        for number, at in enumerate(self.planes):
            for job_id, epoch in at.held:
                owns = self.owns(at, (job_id, epoch))
                assert at.store.record(job_id, epoch, [Told("progress", {})] * 2) == owns
                if owns:
                    assert self.wrote.setdefault((job_id, epoch), number) == number

    @precondition(lambda self: any(plane.held for plane in self.planes))
    @rule(plane=PLANES, outcome=st.sampled_from(["succeeded", "failed", "paused", "lost"]))
    def writes_an_end(self, plane: int, outcome: str) -> None:
        at = self.planes[plane]
        for job_id, epoch in sorted(at.held)[:1]:
            owns = self.owns(at, (job_id, epoch))

            def decide(requested: Any) -> Move:
                return after_interruption(requested, "lost") if outcome == "lost" else after_end(outcome, requested, {})

            assert (at.store.move(job_id, epoch, JobState.RUNNING, decide) is not None) == owns
            at.held.remove((job_id, epoch))

    @rule(plane=PLANES, adopts=st.booleans(), wait_s=st.sampled_from([RENEW_S, WATCH_S]))
    def takes_over(self, plane: int, adopts: bool, wait_s: float) -> None:
        for lease in self.over(self.planes[plane], wait_s):
            self.take(self.planes[plane], lease, adopts=adopts)

    @rule(racers=st.permutations(range(3)), late=st.booleans())
    def two_race_to_take_over(self, racers: list[int], late: bool) -> None:
        """What they have looked at is no longer so, where the third one is only late with its renewal."""
        *two, third = racers
        looks = [(self.planes[racer], lease) for racer in two for lease in self.over(self.planes[racer])]
        if late:
            self.renews(third)
        won = [self.take(plane, lease, adopts=True) for plane, lease in looks]
        winners = [job_id for job_id in won if job_id is not None]
        assert len(set(winners)) == len(winners)

    def over(self, plane: Plane, wait_s: float = WATCH_S) -> list[Lease]:
        """The leases that are over, of those that were looked at twice."""
        for pause_s in (0.0, wait_s):
            self.now += pause_s
            leases = plane.store.owner.leases([job_id for job_id, _ in plane.held])
            plane.watched, over = watch(plane.watched, leases, self.now)
        return over

    def take(self, plane: Plane, lease: Lease, *, adopts: bool) -> str | None:
        """Takes the job, if it is the first to; its attempt is adopted or given up."""
        epoch = plane.store.owner.claim(lease)
        if epoch is None:
            return None
        slept_s = self.now - self.renewed_at[lease.job_id]
        assert slept_s >= (WATCH_S if self.jumped else LEASE_S), "its owner lives"
        self.renewed_at[lease.job_id] = self.now
        if adopts:
            plane.held.add((lease.job_id, epoch))
            return lease.job_id
        moved = plane.store.move(
            lease.job_id, epoch, JobState.RUNNING, lambda requested: after_interruption(requested, "its owner is gone")
        )
        assert moved is not None
        return lease.job_id

    def owns(self, plane: Plane, held: Held) -> bool:
        """Whether the database says so."""
        job = plane.store.any_job(held[0])
        return bool(job.state == JobState.RUNNING and job.epoch == held[1] and job.owner == plane.store.owner.id)

    # ------------------------------------------------------------ what is always so
    @invariant()
    def all_is_well(self) -> None:
        store = self.planes[0].store
        for job_id in self.jobs:
            job = store.any_job(job_id)
            rows, _ = store.events_after(TENANT, job_id, 0, 10_000)
            assert [row.seq for row in rows] == list(range(1, job.last_event + 1))
            assert (job.state == JobState.RUNNING) == (job.owner is not None) == (job.lease_until is not None)
            before = self.seen.get(job_id, job)
            assert job.epoch >= before.epoch
            assert job.attempt >= before.attempt
            if JobState(before.state).is_terminal:
                assert job == before
            self.seen[job_id] = job


Ownership.TestCase.settings = settings(
    max_examples=2_000 if LONG else 20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # which a busy machine is
)
TestOwnership = Ownership.TestCase
