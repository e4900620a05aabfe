"""Jobs on Ray: the same bits as in one process, and the death of a process is told."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.training import digest_of, job_of, run
from workers.blas import kernel_in_use
from workers.job import AttemptLost, Cluster, InternalError, Report, RunningJob
from workers.ray_environment import ray_cluster

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
    assert {"started", "progress", "metrics", "checkpoint", "ended"} == {report.type for report in told}
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


@pytest.mark.parametrize("victim", ["workers", "coordinator"])
def test_the_death_of_any_process_of_a_job_is_told_as_a_lost_attempt(
    cluster: Cluster, tmp_path: Path, victim: str
) -> None:
    from workers.cluster import RayRunningJob  # imports Ray, which the fixture must have set up before

    running = cluster.launch(job_of(tmp_path / "job", workers=2, **LONG))
    assert isinstance(running, RayRunningJob)
    told = reports_until(running, "metrics")
    os.kill(running.process_ids()[victim][0], signal.SIGKILL)
    with pytest.raises(AttemptLost, match="died"):
        while True:
            told += running.reports(told[-1].number, 10)
    running.close()


def test_a_diverging_job_is_told_as_failed_and_not_as_lost(cluster: Cluster, tmp_path: Path) -> None:
    job = job_of(tmp_path / "job", optimizer={"type": "sgd", "learning_rate": 1e6}, layers=[])
    running = cluster.launch(job)
    end = reports_until(running, "ended")[-1].data
    running.close()
    assert (end["outcome"], end["error"]) == ("failed", "Diverged")


def test_a_mistake_of_ours_is_told_as_an_internal_error_and_not_as_a_lost_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    running = cluster.launch(replace(job_of(tmp_path / "job"), plan=None))  # type: ignore[arg-type]
    with pytest.raises(InternalError, match=r"^internal error \(AttributeError\); the service's log has the details$"):
        while True:
            running.reports(0, 1)
    running.close()


def test_a_spare_that_died_while_it_waited_is_not_given_to_a_job(cluster: Cluster, tmp_path: Path) -> None:
    from workers.cluster import RayRunningJob

    first = cluster.launch(job_of(tmp_path / "first", workers=2))
    assert isinstance(first, RayRunningJob)
    reports_until(first, "ended")
    killed = first.process_ids()["workers"]
    first.close()
    for process_id in killed:
        os.kill(process_id, signal.SIGKILL)
    second = cluster.launch(job_of(tmp_path / "second", workers=2))
    assert isinstance(second, RayRunningJob)
    assert ended_well(reports_until(second, "ended"))
    assert not set(killed) & {process for ids in second.process_ids().values() for process in ids}
    second.close()


def ended_well(told: list[Report]) -> bool:
    return bool(told[-1].data["outcome"] == "succeeded")


def test_processes_that_were_started_beside_the_spares_are_alive_as_spares_afterwards(
    cluster: Cluster, tmp_path: Path
) -> None:
    from workers.cluster import RayRunningJob

    together = [cluster.launch(job_of(tmp_path / str(number), workers=2)) for number in range(2)]
    used = set()
    for running in together:
        assert isinstance(running, RayRunningJob)
        assert ended_well(reports_until(running, "ended"))
        used |= {process for ids in running.process_ids().values() for process in ids}
    assert len(used) == 4
    for running in together:
        running.close()
    after = cluster.launch(job_of(tmp_path / "after", workers=2))
    assert isinstance(after, RayRunningJob)
    assert {process for ids in after.process_ids().values() for process in ids} <= used
    assert ended_well(reports_until(after, "ended"))
    after.close()
