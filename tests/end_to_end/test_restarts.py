"""A service of 2 CPUs that is signed in to, that jobs share, and that is killed, ended and started again. Its
checkpoints lie in a bucket; what lies on the disk, the short form of `make chaos` kills."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.buckets import URL, BucketServer, bucket_server
from support.running_service import DATA, RunningService

pytestmark = pytest.mark.ray

WINE: dict[str, Any] = {
    "dataset": "wine",
    "target": "quality",
    "layers": [{"type": "dense", "units": 16, "activation": "silu"}, {"type": "dropout", "rate": 0.1}],
    "batch_size": 100,
    "epochs": 200,  # a second, so that something can happen on the way
    "validation": {"fraction": 0.1},
    "checkpoint": {"every_s": 0.2},
    "workers": 2,
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[BucketServer]:
    with bucket_server() as server:
        yield server


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, bucket: BucketServer) -> Iterator[RunningService]:
    """Every test leaves it running, but the last."""
    service = RunningService(tmp_path_factory.mktemp("own"), cpus=2, options=["--checkpoints", URL]).start()
    try:
        service.until_ready().upload("wine", DATA / "wine-quality-white.csv")
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def undisturbed(own: RunningService) -> str:
    """The digest of WINE when nothing happens on the way."""
    return str(own.trained(**WINE)["parameters_sha256"])


def in_the_middle(service: RunningService, job_id: str, epoch: int) -> None:
    """Returns when the job has told that epoch."""
    for kind, data in service.events(job_id):
        if kind == "metrics" and data["epoch"] >= epoch:
            return


def test_the_link_that_the_service_prints_signs_in_once(own: RunningService) -> None:
    (code,) = re.findall(rf"^sign in, .*: {own.http.base_url}/#signin=([\w-]+)$", own.log(), re.MULTILINE)
    with httpx.Client(base_url=own.http.base_url, timeout=60.0) as browser:
        signed_in = browser.post("/v1/session", json={"code": code})
        assert signed_in.json()["scopes"] == ["read", "submit", "admin"]
        assert browser.get("/v1/cluster").status_code == 200
        assert browser.post("/v1/session", json={"code": code}).status_code == 401


def test_three_jobs_on_two_cpus_all_end_and_those_that_wait_start_by_priority(own: RunningService) -> None:
    one_cpu = {"min": 1, "max": 1}
    first = own.submit(**{**WINE, "workers": {"min": 2, "max": 2}})
    own.until(first["id"], "running")
    late = own.submit(**{**WINE, "epochs": 5}, priority=0)
    early, one_more = (own.submit(**{**WINE, "epochs": 20, "workers": one_cpu}, priority=5) for _ in range(2))
    assert "CPU" in own.job(late["id"])["reason"]
    ended = {job["id"]: own.until(job["id"], "succeeded") for job in (first, early, one_more, late)}
    assert sorted(ended, key=lambda job_id: ended[job_id]["started_at"]) == list(ended)
    assert ended[one_more["id"]]["started_at"] < ended[early["id"]]["finished_at"], "two ran at once"


def test_a_killed_service_resumes_its_job_and_ends_with_the_same_bits(own: RunningService, undisturbed: str) -> None:
    job_id = own.submit(**WINE)["id"]
    in_the_middle(own, job_id, epoch=10)
    own.kill()
    own.start().until_ready()
    job = own.until(job_id, "succeeded")
    history = own.http.get(f"/v1/jobs/{job_id}/history").json()["items"]
    items = own.http.get(f"/v1/jobs/{job_id}/metrics", params={"limit": 500}).json()["items"]
    assert job["parameters_sha256"] == undisturbed
    assert job["attempt"] == 2
    assert [move["to"] for move in history] == ["queued", "running", "queued", "running", "succeeded"]
    told, every = [item["epoch"] for item in items], list(range(1, WINE["epochs"] + 1))
    assert told == every, "no epoch is lost and none is told twice"


def test_sigterm_ends_all_that_the_service_started_within_10_s_and_its_job_goes_on_at_the_next_start(
    own: RunningService, undisturbed: str
) -> None:
    job_id = own.submit(**WINE)["id"]
    in_the_middle(own, job_id, epoch=5)
    took_s = own.stop()
    deadline = time.monotonic() + 10 - took_s
    while own.processes() and time.monotonic() < deadline:
        time.sleep(0.05)  # the processes are not our children: there is nothing to wait on
    left, log = own.processes(), own.log()
    own.start().until_ready()
    job = own.until(job_id, "succeeded")
    assert took_s < 10
    assert left == {}
    assert "SIGTERM received" not in log, "Ray took the signal for a crash"
    assert (job["attempt"], job["parameters_sha256"]) == (2, undisturbed)


def test_a_job_goes_on_from_its_checkpoints_in_a_bucket_which_are_gone_when_it_has_ended(
    own: RunningService, bucket: BucketServer, undisturbed: str
) -> None:
    job_id = own.submit(**WINE)["id"]
    in_the_middle(own, job_id, epoch=20)
    own.act(job_id, "pause")
    own.until(job_id, "paused")
    assert {key.rpartition("/")[0] for key in bucket.objects()} == {f"team-a/{job_id}"}
    own.act(job_id, "resume")
    assert own.until(job_id, "succeeded")["parameters_sha256"] == undisturbed
    own.stop()  # by when it has removed what only training needed
    assert bucket.objects() == []
    assert [path.name for path in (own.data_dir / "jobs" / job_id).iterdir()] == ["model.safetensors"]
