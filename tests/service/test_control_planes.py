"""Several control planes on one PostgreSQL, one cluster and one data folder."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples.postgresql import PostgreSQL
from service.control import FOREIGN, ControlPlane
from service.events import POLL_S
from service.leases import LOOK_S
from service.settings import Settings
from shared.errors import Unavailable
from support.clusters import ScriptedCluster, ScriptedJob
from support.races import LONG
from support.service_in_process import SPEC, WITHIN_S, Service

KEYS = 100 if LONG else 3


class Group:
    """Two control planes, each of which may follow a job."""

    def __init__(self, settings: Settings, cluster: ScriptedCluster) -> None:
        self.settings, self.cluster = settings, cluster
        self.services = [Service(settings, cluster) for _ in range(2)]
        for service in self.services:
            assert service.control.ready.wait(WITHIN_S), service.control.problems()
        self.services[0].upload()

    def run(self) -> tuple[ScriptedJob, Service, Service]:
        """An attempt at a new job, the control plane that follows it, and the other one."""
        job_id = self.services[0].submit()["id"]
        attempt = self.cluster.next_job()
        owner = self.services[0].control.store.any_job(job_id).owner
        follower, other = sorted(self.services, key=lambda service: service.control.store.owner.id != owner)
        return attempt, follower, other


@pytest.fixture
def group(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Group]:
    place = {"data_dir": tmp_path / "data", "database_url": postgresql.new_database(), "ray_address": "shared"}
    settings = Settings(**place, submit_burst=100 * 100, quota_submits_per_minute=10**6)
    group = Group(settings, ScriptedCluster(cpus=2))
    yield group
    group.cluster.let_go()
    for service in group.services:
        service.stop()


def test_a_job_is_followed_by_one_and_told_by_all(group: Group) -> None:
    attempt, _, other = group.run()
    attempt.tell_metrics(1).end("succeeded", parameters_sha256="d" * 64)
    assert other.until(attempt.job.id, "succeeded")["parameters_sha256"] == "d" * 64
    assert group.cluster.nothing_launched()
    assert other.history(attempt.job.id) == ["queued", "running", "succeeded"]


def test_a_stream_shows_what_another_control_plane_wrote(group: Group) -> None:
    attempt, _, other = group.run()
    with other.http.stream("GET", f"/v1/jobs/{attempt.job.id}/events") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("event:"))
        heard = [next(lines), next(lines)]
        attempt.tell_metrics(1)
        heard.append(next(lines))
        attempt.end("cancelled")
        heard += lines
    assert heard == ["event: state", "event: state", "event: metrics", "event: state"]


def test_a_log_is_the_same_at_every_control_plane(group: Group) -> None:
    attempt, follower, other = group.run()
    attempt.tell("log", level="warning", message="something is odd").end("cancelled")
    other.until(attempt.job.id, "cancelled")
    logs = [service.http.get(f"/v1/jobs/{attempt.job.id}/logs").json()["items"] for service in (follower, other)]
    assert logs[0] == logs[1]
    assert [line["message"] for line in logs[0]][2] == "something is odd"


def test_what_happens_at_another_control_plane_is_looked_at_more_often_than_once_a_second() -> None:
    assert max(POLL_S, LOOK_S) < 1


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_request_reaches_an_attempt_that_another_control_plane_follows(group: Group, verb: str) -> None:
    attempt, _, other = group.run()
    other.act(attempt.job.id, verb)
    assert attempt.asked() == verb


def test_cpus_that_another_control_plane_gave_out_are_not_free(group: Group) -> None:
    for _ in range(2):
        group.run()
    third = group.services[1].submit()["id"]
    deadline = time.monotonic() + WITHIN_S
    while "0 of 2 are free" not in group.services[1].job(third)["reason"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [service.http.get("/v1/cluster").json()["cpus_free"] for service in group.services] == [0, 0]
    assert group.cluster.nothing_launched()


def test_a_job_gets_the_cpus_of_all_lower_ones_whichever_control_planes_follow_them(group: Group) -> None:
    lows = []
    for service in group.services:
        service.submit()
        lows.append(group.cluster.next_job())
    high = group.services[0].submit(priority=5, workers={"min": 2, "max": 2})["id"]
    assert [low.asked() for low in lows] == ["pause", "pause"]
    for low in lows:
        low.end("paused")
    assert group.cluster.next_job().job.id == high
    for low in lows:
        assert group.services[1].until(low.job.id, "paused")["reason"].startswith(f"preempted by {high}")


def test_a_job_of_a_control_plane_that_stops_goes_on_at_another(group: Group) -> None:
    attempt, follower, other = group.run()
    attempt.obey()
    follower.stop()
    again = group.cluster.next_job()
    assert (again.job.id, again.job.attempt) == (attempt.job.id, 2)
    assert other.history(attempt.job.id) == ["queued", "running", "queued", "running"]


@pytest.mark.timeout(3600 if LONG else 240)
def test_each_of_many_keys_sent_100_times_at_once_to_all_is_one_job(group: Group) -> None:
    keys = [f"key-{number}" for number in range(KEYS)]

    def submit(number: int) -> tuple[str, int, str]:
        key, service = keys[number // 100], group.services[number % 2]
        answer = service.http.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": key})
        return key, answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(submit, range(100 * KEYS)))
    assert sorted(status for _, status, _ in answers) == [200] * 99 * KEYS + [202] * KEYS
    assert len({(key, job_id) for key, _, job_id in answers}) == KEYS


def test_a_key_that_is_revoked_at_one_is_refused_by_all_within_a_second(group: Group) -> None:
    here, there = group.services
    made = here.http.post("/v1/keys", json={"name": "soon gone", "scopes": ["read"]}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert there.http.get("/v1/jobs", headers=headers).status_code == 200  # which is remembered from now on
    assert here.http.delete(f"/v1/keys/{made['id']}").status_code == 204
    revoked = asked = time.monotonic()
    while there.http.get("/v1/jobs", headers=headers).status_code != 401:
        assert asked < revoked + 1.0
        time.sleep(0.02)
        asked = time.monotonic()


def test_a_service_with_a_folder_of_its_own_takes_no_jobs_of_a_database_of_another(
    group: Group, tmp_path: Path
) -> None:
    attempt, follower, _ = group.run()
    before = follower.control.store.any_job(attempt.job.id)
    settings = Settings(data_dir=tmp_path / "other", database_url=group.settings.database_url)
    stranger = Service(settings, ScriptedCluster())
    try:
        while not (problems := [each for each in stranger.control.problems() if "another data folder" in each]):
            assert not stranger.control.ready.wait(0.05)
        assert problems == [f"the database {FOREIGN}"]
        assert stranger.cluster.nothing_launched()
        assert not (tmp_path / "other" / "admin.key").exists(), "nor does it make keys there"
        after = follower.control.store.any_job(attempt.job.id)
        assert (after.owner, after.epoch, after.state) == (before.owner, before.epoch, "running")
    finally:
        stranger.stop()


def test_a_service_that_shares_nothing_is_kept_out_of_a_shared_folder(group: Group) -> None:
    alone = ControlPlane(Settings(data_dir=group.settings.data_dir), ScriptedCluster)
    with pytest.raises(Unavailable, match="in use by another service"):
        alone.start()
