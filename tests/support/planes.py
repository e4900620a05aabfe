"""Control planes without their threads that look at clocks."""

import threading

import sqlalchemy as sa

from service.catalog import Catalog
from service.database import Database, jobs
from service.heartbeat import Heartbeat
from service.jobs import JobState, Move
from service.leases import WATCH_S
from service.runner import Attempt, Runners
from service.store import Store
from service.takeover import Takeover
from shared.plan import Plan
from support.clusters import ScriptedCluster, ScriptedJob
from support.jobs import TENANT, new_job
from support.service_in_process import WITHIN_S
from workers.job import TrainingJob


class ControlPlane:
    """What follows jobs, without its threads that look at clocks: the test moves the clock and calls them."""

    def __init__(self, database: Database, catalog: Catalog, cluster: ScriptedCluster) -> None:
        self.now = 0.0
        self.store, self.catalog, self.cluster = Store(database), catalog, cluster
        self.ended, self.terminal, self.refused = threading.Event(), [], list[tuple[str, int]]()
        self.runners = Runners(
            self.store,
            cluster,
            self._job_of,
            self.ended.set,
            self._is_over,
            lambda: self.now,
            refuse=lambda job_id, epoch: self.refused.append((job_id, epoch)),
        )
        self.heartbeat = Heartbeat(self.store.owner, self.runners, lambda: self.now)
        self.takeover = Takeover(self.store, self.runners, self._is_over, at_once=False, clock=lambda: self.now)

    def _is_over(self, job_id: str, state: JobState) -> None:
        self.terminal.append(job_id)

    def _job_of(self, attempt: Attempt) -> TrainingJob:
        plan = Plan.model_validate(self.store.any_job(attempt.job_id).plan)
        table = self.catalog.table(TENANT, "numbers")
        return TrainingJob(attempt.job_id, attempt.number, plan, table, None, "", attempt.workers, epoch=attempt.epoch)

    def begin(self) -> str:
        """Submits a job and starts it; returns its id."""
        job_id = self.store.add(new_job())[0].id
        job = self.store.move(job_id, 0, JobState.QUEUED, lambda _: Move(JobState.RUNNING, "started"), workers=1)
        assert job is not None
        self.runners.launch(Attempt.at(job))
        return str(job_id)

    def run(self) -> ScriptedJob:
        """Likewise; returns its attempt."""
        self.begin()
        return self.cluster.next_job()

    def until_ended(self) -> None:
        """Waits until an attempt has ended, or holds fewer CPUs."""
        assert self.ended.wait(WITHIN_S)
        self.ended.clear()

    def take_over(self) -> None:
        """Looks, and once more when it has watched for long enough."""
        self.takeover.look()
        self.now += WATCH_S
        self.takeover.look()


def expire(database: Database) -> None:
    """Ends all leases."""
    with database.writing() as connection:
        connection.execute(sa.update(jobs).values(lease_until=1.0))


def history(plane: ControlPlane, job_id: str) -> list[str]:
    """The states that the job has been in."""
    return [row.data["to"] for row in plane.store.events_after(TENANT, job_id, 0, 100, kind="state")[0]]
