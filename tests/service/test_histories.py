"""Whatever happens to jobs, in whatever order, none is lost: histories that Hypothesis makes up, against the real code.

`CHAINRULE_HISTORIES=5000 make test ARGS=tests/service/test_histories.py` looks at 5000 that were never looked at; else
it is the same 40 each time. A failure tells the steps that lead to it, as few as it takes, and how to have it again.
"""

import logging
import os
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.database import Database
from service.jobs import Verb
from service.quota import Quota
from shared.errors import Conflict
from support.world import TENANTS, SimulatedJob, World
from workers.failures import loss_by
from workers.job import AttemptLost, OutOfMemory

MANY = int(os.environ.get("CHAINRULE_HISTORIES", "0"))
SEED = int(os.environ.get("CHAINRULE_SEED") or secrets.randbelow(10**9))
DAY_S = 86_400.0

LOSSES = {
    "a process died": AttemptLost("a gradient worker died"),
    "out of memory": OutOfMemory("out of memory: a gradient worker was ended"),
    "internal error": loss_by(TypeError()),
}

tenants = st.sampled_from(TENANTS)
limits = st.none() | st.integers(0, 4)
some = st.integers(0, 9)  # of the jobs or attempts that there are, the first, second, … again


class Histories(RuleBasedStateMachine):
    database: Database

    @initialize(cpus=st.integers(1, 6), keeps_attempts=st.booleans(), planes=st.integers(1, 2))
    def begin(self, cpus: int, keeps_attempts: bool, planes: int) -> None:
        self.world = World(self.database, cpus, keeps_attempts=keeps_attempts, planes=planes)

    # ------------------------------------------------------------ users
    @rule(least=st.integers(1, 4), more=st.integers(0, 4), priority=st.integers(0, 3), tenant=tenants)
    def submit(self, least: int, more: int, priority: int, tenant: str) -> None:
        self.world.submit(least, least + more, priority, tenant)

    @rule(max_wait_s=st.sampled_from([1.0, 60.0]), tenant=tenants)
    def submit_in_a_hurry(self, max_wait_s: float, tenant: str) -> None:
        self.world.submit(1, 2, 0, tenant, max_wait_s=max_wait_s)

    @rule(tenant=tenants, jobs=limits, cpus=limits, share=st.sampled_from([0.5, 1.0, 3.0]))
    def set_quota(self, tenant: str, jobs: int | None, cpus: int | None, share: float) -> None:
        self.world.quotas[tenant] = Quota(running_jobs=jobs, cpus=cpus, share=share)

    @precondition(lambda self: self.world.jobs)
    @rule(which=some, verb=st.sampled_from(["pause", "resume", "cancel"]))
    def request(self, which: int, verb: Verb) -> None:
        ids = list(self.world.jobs)
        try:
            self.world.request(ids[which % len(ids)], verb)
        except Conflict:
            return

    # ------------------------------------------------------------ attempts
    def attempt(self, which: int) -> SimulatedJob:
        attempts = self.world.cluster.open()
        return attempts[which % len(attempts)]

    has_attempts = precondition(lambda self: self.world.cluster.open())

    @has_attempts
    @rule(which=some)
    def heed(self, which: int) -> None:
        self.attempt(which).heed()

    @has_attempts
    @rule(which=some, outcome=st.sampled_from(["succeeded", "failed"]))
    def end(self, which: int, outcome: str) -> None:
        self.attempt(which).finish(outcome)

    @has_attempts
    @rule(which=some, loss=st.sampled_from(sorted(LOSSES)))
    def lose(self, which: int, loss: str) -> None:
        self.attempt(which).lose(LOSSES[loss])

    @has_attempts
    @rule(which=some)
    def lose_a_worker(self, which: int) -> None:
        self.attempt(which).lose_worker()

    @has_attempts
    @rule(which=some)
    def write_a_checkpoint(self, which: int) -> None:
        attempt = self.attempt(which)
        if not attempt.over:
            attempt.tell("checkpoint", step=1)

    # ------------------------------------------------------------ machines and clocks
    @rule(cpus=st.integers(1, 6))
    def nodes_join_or_leave(self, cpus: int) -> None:
        self.world.cluster.resize(cpus)

    @rule(crowded=st.booleans())
    def others_use_the_cluster(self, crowded: bool) -> None:
        self.world.cluster.crowded = crowded

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock += seconds

    @rule(days=st.sampled_from([-1, 1]))
    def the_clock_is_set(self, days: int) -> None:
        self.world.wall_offset_s += days * DAY_S

    # ------------------------------------------------------------ the service
    @rule()
    def follow(self) -> None:
        self.world.follow()

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule()
    def all_settles(self) -> None:
        self.world.settle()
        self.world.check_priorities()

    @rule()
    def the_service_is_killed(self) -> None:
        self.world.kill()

    @rule()
    def another_control_plane_takes_over(self) -> None:
        self.world.replace()

    @precondition(lambda self: self.world.hanging or self.world.stale)
    @rule(first=st.sampled_from(["runners", "heartbeat", "scheduler"]))
    def the_one_before_wakes(self, first: Any) -> None:
        self.world.wake(first)

    @invariant()
    def is_sound(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.finish()
        self.world.check_preemptions()


@pytest.mark.timeout(0 if MANY else 240)
def test_whatever_happens_no_job_is_lost_and_no_cpu_is_used_twice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "chainrule")  # losses by the thousand are what is asked for here
    Histories.database = World.database()
    if MANY:  # Hypothesis tells the seed of plain tests only
        print(f"have them again by CHAINRULE_HISTORIES={MANY} CHAINRULE_SEED={SEED}")
        seed(SEED)(Histories)
    run: Any = Histories.TestCase()
    run.settings = settings(
        max_examples=MANY or 40,
        derandomize=not MANY,
        database=None,
        report_multiple_bugs=False,
        stateful_step_count=40,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run.runTest()
    finally:
        Histories.database.close()
