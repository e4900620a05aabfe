"""The control plane: what holds store, scheduler, runners and cluster together, how it starts and how it ends."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from service.bell import Bell
from service.catalog import Catalog
from service.census import Census
from service.concurrency import ConcurrencyLimit, waiting_for
from service.credentials import Credentials
from service.data_folder import DataFolder
from service.database import AWAY, Database, reason_of
from service.evaluation import Evaluations
from service.events import ALONE_POLL_S, POLL_S, Feeds
from service.heartbeat import Heartbeat
from service.intake import Intake
from service.jobs import JobState, Verb
from service.models import Models
from service.pace import Pace
from service.places import Places
from service.readers import Readers
from service.runner import Attempt, Runners
from service.scheduler import LATE_AT_ONCE, Scheduler
from service.settings import Settings
from service.store import JobRow, Store
from service.takeover import Takeover
from service.telemetry import Snapshot, Telemetry
from service.tenants import Tenants
from service.uploads import TOO_MANY_UPLOADS, UPLOAD_AGAIN_S, UPLOAD_THREADS, UPLOADS_AT_ONCE
from service.webhooks.deliverer import Deliverer
from service.webhooks.outbox import Outbox
from service.webhooks.registry import Webhooks
from service.webhooks.sender import Sender
from service.webhooks.targets import Rules
from shared.errors import Unavailable
from shared.plan import Plan
from workers.job import Cluster, Node, TrainingJob

__all__ = ["ControlPlane"]

T = TypeVar("T")

TRY_AGAIN_S = 2.0
PAUSE_WITHIN_S = 4.0  # for running jobs to write a checkpoint when the service ends
ENDS_WITHIN_S = 7.5
PLANNERS = 16  # jobs of all tenants that are planned at once, of the 40 threads that answer requests
QUICK_AT_ONCE = 64  # jobs of a tenant that are planned in a moment: those of another one wait for as many at most
MAY_WAIT_FOR_PLANS = 1_000  # of a tenant, each with its spec in memory
SETTLES_EVERY_S = 3600.0
SAYS_GOODBYE_WITHIN_S = 0.5
FOREIGN = (
    "belongs to another data folder: what its jobs need lies there; start the service with that one (--data-dir), or "
    "with a database of its own (--database-url)"
)

log = logging.getLogger("chainrule")


class ClusterState(NamedTuple):
    """The cluster as it is now."""

    nodes: list[Node]
    cpus: int
    cpus_free: int
    free_by_node: dict[str, float]


class ControlPlane:
    """One service without its HTTP. `make_cluster` is called once, in the background, as Ray is slow to import;
    `on_open` once the database is open.

    Two threads start it, so that neither waits for the other: one brings the database up to date, the other the
    cluster, and stays alive as long as that is to live, for Ray's processes end with the thread that started them.
    """

    def __init__(
        self,
        settings: Settings,
        make_cluster: Callable[[], Cluster],
        folder: DataFolder | None = None,
        on_open: Callable[[Credentials], None] = lambda credentials: None,
        readers: Readers | None = None,
    ) -> None:
        self.settings = settings
        self.readers = readers or Readers(settings.log_format)
        self.folder = folder or DataFolder(settings.data_dir, settings.checkpoints, shared=settings.shared)
        self.bell = Bell()
        self.telemetry = Telemetry()
        self.telemetry.show(self._snapshot)
        self.models = Models()
        self.evaluations = Evaluations()
        self.concurrency = ConcurrencyLimit()
        self.uploads = ConcurrencyLimit(UPLOADS_AT_ONCE, 0, TOO_MANY_UPLOADS, UPLOAD_AGAIN_S)
        self.upload_threads = asyncio.Semaphore(UPLOAD_THREADS)
        self.long_bodies = ConcurrencyLimit(at_once=1)
        self.planning = ConcurrencyLimit(may_wait=MAY_WAIT_FOR_PLANS, refusal=waiting_for("plans of jobs"))
        self.quick_planning = ConcurrencyLimit(QUICK_AT_ONCE, MAY_WAIT_FOR_PLANS, waiting_for("plans of jobs"))
        self.planners = asyncio.Semaphore(PLANNERS)
        self.pace = Pace(settings.submit_burst)
        self.ready = threading.Event()
        """Set once jobs are taken and run."""
        self._make_cluster, self._on_open = make_cluster, on_open
        self._problems = {"database": "is being opened", "cluster": "is starting"}
        self._stopping = threading.Event()
        self._opened = threading.Event()
        self._database: Database | None = None
        self._store: Store | None = None
        self._feeds: Feeds | None = None
        self._catalog: Catalog | None = None
        self._credentials: Credentials | None = None
        self._census: Census | None = None
        self._tenants: Tenants | None = None
        self._intake: Intake | None = None
        self._places: Places | None = None
        self._webhooks: Webhooks | None = None
        self._deliverer: Deliverer | None = None
        self._cluster: Cluster | None = None
        self._runners: Runners | None = None
        self._scheduler: Scheduler | None = None
        self._heartbeat: Heartbeat | None = None
        self._threads = [
            threading.Thread(target=self._open_database, name="database", daemon=True),
            threading.Thread(target=self._run_cluster, name="cluster", daemon=True),
        ]

    # ------------------------------------------------------------ what others use
    @property
    def store(self) -> Store:
        """The jobs. Raises Unavailable until the database is open."""
        return self._open(self._store)

    @property
    def feeds(self) -> Feeds:
        """The event streams. Raises Unavailable until the database is open."""
        return self._open(self._feeds)

    @property
    def catalog(self) -> Catalog:
        """The data sets. Raises Unavailable until the database is open."""
        return self._open(self._catalog)

    @property
    def tenants(self) -> Tenants:
        """The tenants and their quotas. Raises Unavailable until the database is open."""
        return self._open(self._tenants)

    @property
    def intake(self) -> Intake:
        """What plans jobs and queues them. Raises Unavailable until the database is open."""
        return self._open(self._intake)

    @property
    def places(self) -> Places:
        """Where jobs stand that wait. Raises Unavailable until the database is open."""
        return self._open(self._places)

    @property
    def credentials(self) -> Credentials:
        """The keys and sessions. Raises Unavailable until the database is open."""
        return self._open(self._credentials)

    @property
    def webhooks(self) -> Webhooks:
        """The webhooks. Raises Unavailable until the database is open."""
        return self._open(self._webhooks)

    def _open(self, part: T | None) -> T:
        if part is None:
            raise Unavailable(f"the database {self._problems['database']}; try again in a moment")
        return part

    def problems(self) -> list[str]:
        """Why jobs cannot be taken and run now; nothing when they can."""
        found = [f"the {part} {problem}" for part, problem in self._problems.items()]
        if self._stopping.is_set():
            found.append("the service is stopping")
        elif not found and self._cluster is not None and self._heartbeat is not None:
            try:
                self._cluster.nodes()
            except Unavailable as error:
                found.append(str(error))
            away = self._heartbeat.problem()
            if away is not None:
                found.append(f"the database {away}")
        return found

    def cluster_state(self) -> ClusterState:
        """The cluster's nodes and CPUs. Raises Unavailable."""
        if self._cluster is None or self._runners is None or "cluster" in self._problems:
            raise Unavailable(f"the cluster {self._problems.get('cluster', 'is starting')}", retry_after_s=5)
        nodes = self._cluster.nodes()
        cpus = int(sum(node.cpus for node in nodes))
        in_use = self._runners.cpus_in_use()
        held = {nodes[0].id: in_use} if len(nodes) == 1 else self._cluster.cpus_held()
        free = {node.id: max(0.0, node.cpus - held.get(node.id, 0)) for node in nodes}
        return ClusterState(nodes, cpus, max(0, cpus - in_use), free)

    def _snapshot(self) -> Snapshot:
        """What is so now, as far as database and cluster answer."""
        try:
            census = None if self._census is None else self._census.take()
        except AWAY:
            census = None
        try:
            cluster = self.cluster_state()
        except (*AWAY, Unavailable):
            cluster = None
        return Snapshot(
            jobs=None if census is None else census.jobs,
            oldest_queued=None if census is None else census.oldest_queued,
            nodes=None if cluster is None else len(cluster.nodes),
            cpus=None if cluster is None else cluster.cpus,
            cpus_free=None if cluster is None else cluster.cpus_free,
            samples_per_s=0.0 if self._runners is None else sum(each.samples_per_s for each in self._runners.now()),
            event_streams=0 if self._feeds is None else self._feeds.streams,
            ready=not self.problems(),
        )

    def _moved(self, before: JobRow | None, to: JobState) -> None:
        if before is None:
            self.telemetry.submitted()
        else:
            self.telemetry.moved(to, before.created_at, before.started_at)

    def request(self, tenant: str, job_id: str, verb: Verb) -> JobRow:
        """Cancels, pauses or resumes a job as far as that can be done at once. Raises NotFound, Conflict."""
        job = self.store.request(tenant, job_id, verb)
        if self._runners is not None and job.state == JobState.RUNNING and job.requested in ("pause", "cancel"):
            self._runners.request(job_id, job.requested)
        if job.state == JobState.CANCELLED:
            self.folder.end_job(job_id, JobState.CANCELLED)
        self.wake()
        return job

    def wake(self) -> None:
        """Something has changed that may let a job start."""
        if self._scheduler is not None:
            self._scheduler.wake()

    def job_came(self, job: JobRow) -> None:
        """A new job waits for CPUs."""
        if self._scheduler is not None:
            self._scheduler.job_came(job.tenant, job.priority)

    # ------------------------------------------------------------ starting
    def start(self) -> None:
        """Takes the data folder, and starts all else in the background. Raises Unavailable if the folder is in use."""
        self.folder.open()
        for thread in self._threads:
            thread.start()

    def _open_database(self) -> None:
        database = Database(self.settings.database)
        while not self._stopping.is_set():
            try:
                database.migrate()
                store, credentials = Store(database, self.bell.ring, on_move=self._moved), Credentials(database)
                if not database.belongs_to(self.folder.id()):
                    self._problems["database"] = FOREIGN
                    log.warning("the database %s", FOREIGN)
                    self._stopping.wait(TRY_AGAIN_S)
                    continue
                credentials.keep_one_admin(self.folder.write_admin_key)
            except (SQLAlchemyError, OSError) as error:
                self._problems["database"] = f"cannot be opened {_kind_of(error)}"
                log.warning("the database cannot be opened: %s; trying again in %g s", reason_of(error), TRY_AGAIN_S)
                self._stopping.wait(TRY_AGAIN_S)
                continue
            except Exception as error:
                self._problems["database"] = f"could not be brought up to date {_kind_of(error)}"
                log.exception("the database could not be brought up to date")
                return
            self._database, self._store = database, store
            self._feeds = Feeds(store, self.bell, POLL_S if self.settings.shared else ALONE_POLL_S)
            self._catalog = Catalog(database, self.folder.datasets, is_alone=not self.settings.shared)
            self._credentials = credentials
            self._census = Census(database)
            self._tenants, self._places = Tenants(database, self.settings.quota), Places(store.queue)
            self._intake = Intake(store, self._catalog, self._tenants)
            rules = Rules(self.settings.webhook_hosts, self.settings.webhook_private)
            self._webhooks = Webhooks(database, rules, self.folder.webhook_key)
            del self._problems["database"]
            self._opened.set()
            self._deliverer = Deliverer(Outbox(database), Sender(rules), self.folder.webhook_key)
            self._deliverer.start()
            try:
                self._on_open(credentials)
            except Exception:
                log.exception(
                    "the service goes on, though not all could be done that was to be once its database is open"
                )
            _import_what_requests_need()
            while not self._stopping.is_set():
                self.settle()
                self._stopping.wait(SETTLES_EVERY_S)
            return
        database.close()

    def settle(self) -> None:
        """Removes files that should not be there: of data sets whose service was killed before they were listed, of
        what is gone, and what only training needed of jobs that have ended. What cannot be settled now is an hour
        later, or at the next start."""
        try:
            for mark in self.folder.doubts():
                if not self._stopping.is_set():
                    self.folder.settle(mark, self.catalog.state_of)
        except (*AWAY, OSError) as error:
            log.warning("what was left half done is not removed yet: %s", reason_of(error))
        except Exception:
            log.exception("what was left half done is not removed yet; it is tried again")

    def _run_cluster(self) -> None:
        cluster = self._start_cluster()
        while not self._opened.wait(0.2):
            if self._stopping.is_set():
                break
        if cluster is not None and self._store is not None and not self._stopping.is_set():
            self._cluster = cluster
            self._runners = Runners(
                self._store,
                cluster,
                self._training_job,
                self.wake,
                self.folder.end_job,
                telemetry=self.telemetry,
                refuse=self.folder.refuse,
            )
            self._heartbeat = Heartbeat(self._store.owner, self._runners, shared=self.settings.shared)
            at_once = not self.settings.shared
            takeover = Takeover(self._store, self._runners, self.folder.end_job, at_once=at_once)
            self._scheduler = Scheduler(
                self._store, cluster, self._runners, takeover, quotas=self.tenants.quotas, places=self.places
            )
            self._heartbeat.start()
            self._scheduler.start()
            del self._problems["cluster"]
            self.ready.set()
            log.info("ready to take jobs")
        self._stopping.wait()
        if self._scheduler is not None and self._runners is not None and self._heartbeat is not None:
            self._scheduler.stop()
            self._runners.stop(PAUSE_WITHIN_S)
            self._heartbeat.stop(SAYS_GOODBYE_WITHIN_S)
        if cluster is not None:
            cluster.stop()

    def _start_cluster(self) -> Cluster | None:
        """The cluster, started, however often that takes; None when the service ends before."""
        cluster: Cluster | None = None
        while not self._stopping.is_set():
            try:
                cluster = cluster or self._make_cluster()
                if self._stopping.is_set():
                    return None
                cluster.start()
            except Exception as error:  # Ray raises what it likes: a head that is not up yet is a ConnectionError
                self._problems["cluster"] = f"could not be started {_kind_of(error)}"
                log.warning("the cluster could not be started; trying again in %g s", TRY_AGAIN_S, exc_info=True)
                self._end_late()
                self._stopping.wait(TRY_AGAIN_S)
            else:
                return cluster
        return None

    def _end_late(self) -> None:
        """Ends what has waited too long, which the scheduler does once it runs."""
        if self._store is None:
            return
        try:
            with self._store.owner.scheduling():
                self._store.end_late(LATE_AT_ONCE)
        except AWAY as error:
            log.warning("which jobs have waited too long is not known: %s", reason_of(error))

    def _training_job(self, attempt: Attempt) -> TrainingJob:
        """What the engine must know for an attempt. Raises NotFound when job or data set are gone."""
        job = self.store.any_job(attempt.job_id)
        tables = [
            self.catalog.table(job.tenant, dataset_id) if dataset_id is not None else None
            for dataset_id in (job.dataset_id, job.validation_dataset_id)
        ]
        folder = self.folder.add_job(attempt.job_id)
        training, validation = tables
        assert training is not None
        plan = Plan.model_validate(job.plan)
        return TrainingJob(
            attempt.job_id,
            attempt.number,
            plan,
            training,
            validation,
            str(folder),
            attempt.workers,
            self.folder.checkpoints_url(attempt.job_id),
            attempt.epoch,
        )

    # ------------------------------------------------------------ ending
    def begin_stop(self) -> None:
        """Ends the event streams and asks the jobs to pause; must be followed by `stop`. Repeating is harmless."""
        self._stopping.set()
        self.bell.close()

    def stop(self) -> None:
        """Ends everything that this has started: jobs write a checkpoint and are queued for the next start."""
        self.begin_stop()
        deadline = time.monotonic() + ENDS_WITHIN_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        if self._deliverer is not None:
            self._deliverer.stop(SAYS_GOODBYE_WITHIN_S)
        if self._database is not None:
            self._database.close()
        self.folder.close()


def _kind_of(error: Exception) -> str:
    """What is wrong, as everybody may be told: an error's own words hold addresses, users and paths."""
    kind = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return f"({kind}); the service's log says more"


def _import_what_requests_need() -> None:
    """What reads tables: it takes a while to import, which the first upload or job need not wait for."""
    import service.datasets  # noqa: F401
    import workers.planning  # noqa: F401
