"""Jobs on Ray: the same bits as in one process, and the death of a process is told."""

import os
import resource
import select
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from support.training import digest_of, job_of, run
from workers.blas import kernel_in_use
from workers.checkpoint import newest
from workers.gradient_worker import network_of
from workers.job import AttemptLost, Cluster, InternalError, Report, RunningJob, Sought, TrainingJob
from workers.parameter_server import ServerState
from workers.ray_environment import ray_cluster
from workers.storage import Folder
from workers.transport import LocalTransport

if TYPE_CHECKING:
    from workers.on_ray.running_job import RayRunningJob

pytestmark = pytest.mark.ray

LONG = {"epochs": 100_000, "checkpoint": {"every_s": 3600}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = ray_cluster(tmp_path_factory.mktemp("cluster"), cpus=4)
    cluster.start()
    yield cluster
    cluster.stop()


def reports_until(running: RunningJob, kind: str) -> list[Report]:
    """All reports up to the first of that type."""
    told: list[Report] = []
    while not told or told[-1].type != kind:
        told += running.reports(told[-1].number if told else 0, 10)[:1]
    return told


def test_the_kernel_of_every_node_is_known_from_the_start(cluster: Cluster) -> None:
    assert [node.blas_kernel for node in cluster.nodes()] == [kernel_in_use()]


def test_ray_and_one_process_give_the_same_bits(cluster: Cluster, tmp_path: Path) -> None:
    running = cluster.launch(job_of(tmp_path / "ray", workers=3))
    told = reports_until(running, "ended")
    running.close()
    assert digest_of(told) == digest_of(run(job_of(tmp_path / "local")))


def test_what_is_told_over_ray_is_what_is_told_in_one_process(cluster: Cluster, tmp_path: Path) -> None:
    running = cluster.launch(job_of(tmp_path / "ray"))
    told = reports_until(running, "ended")
    running.close()
    assert [report.number for report in told] == list(range(1, len(told) + 1))
    assert {"log", "started", "progress", "metrics", "checkpoint", "ended"} == {report.type for report in told}
    started = next(report.data for report in told if report.type == "started")
    assert started["parameters"] == 33
    assert started["environment"]["blas_kernel"] == kernel_in_use()


def test_a_process_that_is_used_again_tells_nothing_of_the_job_before(cluster: Cluster, tmp_path: Path) -> None:
    for number in range(5):
        running = cluster.launch(job_of(tmp_path / str(number), seed=number))
        told = reports_until(running, "ended")
        running.close()
        running.request("cancel")  # too late; must not reach whoever uses the process next
        assert digest_of(told) == digest_of(run(job_of(tmp_path / f"{number}-local", seed=number)))


def test_a_running_job_heeds_a_pause(cluster: Cluster, tmp_path: Path) -> None:
    running = cluster.launch(job_of(tmp_path / "job", **LONG))
    reports_until(running, "metrics")
    running.request("pause")
    assert reports_until(running, "ended")[-1].data["outcome"] == "paused"
    running.close()


def ray_job(cluster: Cluster, job: TrainingJob) -> "RayRunningJob":
    from workers.on_ray.running_job import RayRunningJob  # imports Ray, which the fixture must have set up before

    running = cluster.launch(job)
    assert isinstance(running, RayRunningJob)
    return running


class Following:
    """All that an attempt tells, and the changes in the number of its workers among it."""

    def __init__(self, running: RunningJob) -> None:
        self._running = running
        self.told: list[Report] = []
        self._seen = 0

    def next(self, *kinds: str) -> dict[str, Any]:
        """The data of the next report of one of these types."""
        while True:
            for report in self.told[self._seen :]:
                self._seen = report.number
                if report.type in kinds:
                    return report.data
                assert report.type != "ended", report
            self.told += self._running.reports(len(self.told), 10)

    def sizes(self) -> tuple[int, int]:
        """How many workers compute after the next change, and how many CPUs are held."""
        change = self.next("workers")
        return change["workers"], change["cpus"]


def test_the_death_of_the_coordinator_is_told_as_a_lost_attempt(cluster: Cluster, tmp_path: Path) -> None:
    running = ray_job(cluster, job_of(tmp_path / "job", workers=2, **LONG))
    told = reports_until(running, "metrics")
    os.kill(running.process_ids()["coordinator"][0], signal.SIGKILL)
    with pytest.raises(AttemptLost, match="died"):
        while True:
            told += running.reports(told[-1].number, 10)
    running.close()


def test_a_coordinator_that_hangs_is_told_as_a_lost_attempt_and_its_processes_are_ended(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.on_ray import running_job

    monkeypatch.setattr(running_job, "ANSWERS_WITHIN_S", 1.0)
    running = ray_job(cluster, job_of(tmp_path / "job", workers=2, **LONG))
    told = reports_until(running, "metrics")
    (coordinator,) = running.process_ids()["coordinator"]
    os.kill(coordinator, signal.SIGSTOP)
    with pytest.raises(AttemptLost, match="has not answered"):
        while True:
            told += running.reports(told[-1].number, 0.5)
    ended = os.pidfd_open(coordinator)
    running.close()
    assert select.select([ended], [], [], 30)[0], "it cannot wake later and write"
    os.close(ended)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_hangs_is_replaced_and_the_attempt_goes_on(
    cluster: Cluster, tmp_path: Path, how: signal.Signals
) -> None:
    running = ray_job(cluster, job_of(tmp_path / "job", workers=2, **LONG))
    following = Following(running)
    if following.next("started")["workers"] == 1:
        assert following.sizes() == (2, 2)
    (victim,) = running.process_ids()["workers"]
    ended = os.pidfd_open(victim)
    os.kill(victim, how)
    lost, joined = following.next("workers"), following.next("workers")
    assert (lost["workers"], lost["cpus"]) == (1, 2)
    assert "its shards went to the others" in lost["why"]
    assert [(told["before"], told["members"], list(told["gone"]), told["lost"]) for told in (lost, joined)] == [
        ([0, 1], [0], [1], True),
        ([0], [0, 1], [], False),
    ]
    assert (joined["workers"], joined["cpus"], joined["why"]) == (2, 2, "a gradient worker joined")
    (replacement,) = running.process_ids()["workers"]
    assert replacement != victim
    assert select.select([ended], [], [], 30)[0], "who was given up is ended"
    os.close(ended)
    running.close()


def test_who_left_before_an_attempt_was_found_is_no_news(cluster: Cluster) -> None:
    """What the coordinator told while nobody followed it names workers whom the next to follow never knew."""
    from workers.on_ray.running_job import RayRunningJob

    found = RayRunningJob("an attempt", None, "direct", None, 2, [])  # type: ignore[arg-type]
    found._take_leave([1])


def test_placement_groups_of_others_are_not_taken_for_those_of_attempts(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.on_ray import seats
    from workers.on_ray.cluster import _holds, _newest

    attempt, job_id = "job_01K9T4Z3N7J5W8QH2M6RVYBXCD.2.7.0a1b2c3d", "job_01K9T4Z3N7J5W8QH2M6RVYBXCD"
    ours = {f"{attempt}/0": "CREATED", f"{attempt}/1": "PENDING", f"{attempt}/2": "REMOVED"}
    others = dict.fromkeys(
        ["team/x", "a.b/c.d/0", "a.1.2.x/0", f"{attempt}/x", f"{attempt}.1/0", "trial", ""], "CREATED"
    )
    listed = [
        {"name": name, "state": state, "bundles_to_node_id": {0: "a node"}} for name, state in (ours | others).items()
    ]
    monkeypatch.setattr(seats, "placement_group_table", lambda: dict(enumerate(listed)))
    holding = seats.groups()
    assert holding == {f"{attempt}/0": attempt, f"{attempt}/1": attempt}
    assert seats.held() == {"a node": 1}
    assert _newest(holding.values(), Sought(job_id, 2, 7)) == attempt
    assert _holds(Sought(job_id, 3, 8), holding) == list(holding)


def test_seats_that_a_job_cannot_do_without_are_never_given_back_one_by_one(cluster: Cluster) -> None:
    from workers.on_ray.seats import GroupedSeats, groups

    seats = GroupedSeats("job_a.1.1.0a")
    seats.open(3, together=2)
    assert sorted(groups()) == ["job_a.1.1.0a/0", "job_a.1.1.0a/2"]
    seats.drop()
    assert list(groups()) == ["job_a.1.1.0a/0"]
    with pytest.raises(AssertionError, match="cannot do without"):
        seats.drop()
    assert list(groups()) == ["job_a.1.1.0a/0"]
    seats.close()


def test_a_seat_that_is_added_where_some_are_gone_has_a_name_that_no_other_has(cluster: Cluster) -> None:
    from workers.on_ray import seats

    begun = seats.GroupedSeats("job_b.1.1.0b")
    begun.open(3, together=1)
    seats.remove("job_b.1.1.0b/1")
    found = seats.GroupedSeats.found("job_b.1.1.0b")
    found.add()
    assert sorted(seats.groups()) == ["job_b.1.1.0b/0", "job_b.1.1.0b/2", "job_b.1.1.0b/3"]
    found.close()


def test_an_attempt_grows_and_shrinks_while_it_trains_without_changing_a_bit(cluster: Cluster, tmp_path: Path) -> None:
    wide = {"type": "dense", "units": 256, "activation": "tanh"}
    job = job_of(tmp_path / "job", **LONG, layers=[wide, wide], batch_size=300, validation=None)
    running = ray_job(cluster, job)
    following = Following(running)
    following.next("metrics")
    for size in (3, 1, 2):
        running.resize(size)
        while following.sizes() != (size, size):  # who is to join may do so one after the other
            continue
    running.request("pause")
    assert following.next("ended")["outcome"] == "paused"
    running.close()
    paused, _ = newest(Folder(tmp_path / "job" / "checkpoints"))
    assert paused is not None
    alone = LocalTransport(1)
    start = ServerState(network_of(job.plan).initial_parameters(0))
    alone.open(job.plan, tmp_path / "job" / "prepared", start, 0)
    alone.steps(0, paused.step)
    assert np.array_equal(alone.state().parameters, paused.server.parameters)


def test_an_attempt_that_is_to_go_on_as_it_is_tells_what_it_holds(cluster: Cluster, tmp_path: Path) -> None:
    """Whoever has found it knows that by nothing else."""
    running = ray_job(cluster, job_of(tmp_path / "job", **LONG))
    following = Following(running)
    following.next("started")
    running.resize(1)
    told = following.next("workers")
    assert (told["workers"], told["cpus"], told["why"]) == (1, 1, "goes on with the same workers")
    running.close()


def test_without_memory_to_share_an_attempt_answers_who_would_change_its_size(cluster: Cluster, tmp_path: Path) -> None:
    """Only then are CPUs given back that it was to grow into."""
    from workers.on_ray.crew import RayCrew
    from workers.on_ray.process import _transport

    crew, newcomer, job = RayCrew([]), SimpleNamespace(number=1), job_of(tmp_path / "job")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        transport, (note,) = _transport("direct", job, crew)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert note.startswith("no memory to share (File too large): 1 of 1 workers compute")
    crew.join([newcomer])  # type: ignore[list-item]
    crew.dismiss([1])
    told = transport.regroup()
    assert [(change.workers, change.gone, change.members, change.in_vain) for change in told] == [
        (1, [1], [0], [1]),
        (1, [], [0], []),
    ]
    assert transport.regroup() == []


def test_a_diverging_job_is_told_as_failed_and_not_as_lost(cluster: Cluster, tmp_path: Path) -> None:
    job = job_of(tmp_path / "job", optimizer={"type": "sgd", "learning_rate": 1e6}, layers=[])
    running = cluster.launch(job)
    end = reports_until(running, "ended")[-1].data
    running.close()
    assert (end["outcome"], end["error"]) == ("failed", "Diverged")


def test_a_mistake_of_ours_is_told_as_an_internal_error_and_not_as_a_lost_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    running = cluster.launch(replace(job_of(tmp_path / "job"), training=None))  # type: ignore[arg-type]
    with pytest.raises(InternalError, match=r"^internal error \(AttributeError\); the service's log has the details$"):
        while True:
            running.reports(0, 1)
    running.close()


def test_a_spare_that_died_while_it_waited_is_not_given_to_a_job(cluster: Cluster, tmp_path: Path) -> None:
    first = ray_job(cluster, job_of(tmp_path / "first", workers=2))
    reports_until(first, "ended")
    killed = first.process_ids()["workers"]
    first.close()
    for process_id in killed:
        os.kill(process_id, signal.SIGKILL)
    second = ray_job(cluster, job_of(tmp_path / "second", workers=2))
    assert ended_well(reports_until(second, "ended"))
    assert not set(killed) & {process for ids in second.process_ids().values() for process in ids}
    second.close()


def ended_well(told: list[Report]) -> bool:
    return bool(told[-1].data["outcome"] == "succeeded")


def test_processes_that_were_started_beside_the_spares_are_alive_as_spares_afterwards(
    cluster: Cluster, tmp_path: Path
) -> None:
    together = [ray_job(cluster, job_of(tmp_path / str(number), workers=2)) for number in range(2)]
    used = set()
    for running in together:
        assert ended_well(reports_until(running, "ended"))
        used |= {process for ids in running.process_ids().values() for process in ids}
    assert len(used) == 4
    for running in together:
        running.close()
    after = ray_job(cluster, job_of(tmp_path / "after", workers=2))
    assert {process for ids in after.process_ids().values() for process in ids} & used
    assert ended_well(reports_until(after, "ended"))
    after.close()
