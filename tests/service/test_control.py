"""Jobs from submission to end, with attempts that do what the test says."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.clock import now
from service.control import ControlPlane
from service.credentials import Credentials
from service.data_folder import DataFolder
from service.database import Database, jobs
from service.jobs import JobState, Move
from service.settings import Settings
from service.store import Store, Told
from shared.errors import Unavailable
from support.clusters import ScriptedCluster, ScriptedJob
from support.jobs import TENANT
from support.service_in_process import Service, Start
from workers.failures import MAX_INTERNAL_ERRORS, MAX_LOSSES_WITHOUT_PROGRESS, loss_by
from workers.job import Node, NotPlaced, TrainingJob

DIGEST = "d" * 64
DONE = {"fraction": 1.0, "step": 8, "steps": 8, "epoch": 2, "epochs": 2, "eta_s": 0.0}


def succeed(attempt: ScriptedJob) -> None:
    attempt.end("succeeded", parameters_sha256=DIGEST, metrics={"train_loss": 0.5}, progress=DONE)


def test_a_job_runs_and_its_end_is_told_with_all_that_came_out(service: Service) -> None:
    job_id = service.submit(name="one", labels={"team": "a"}, workers=2)["id"]
    attempt = service.cluster.next_job()
    assert (attempt.job.id, attempt.job.attempt, attempt.job.workers) == (job_id, 1, 2)
    assert attempt.job.training.path.endswith("/table.arrow")
    attempt.tell("started", parameters=4, resumed_from_step=0, workers=2, environment={"blas_kernel": "Haswell"})
    attempt.tell("progress", **{**DONE, "fraction": 0.5}, metrics={"train_loss": 1.0}).tell_metrics(4).tell_metrics(8)
    succeed(attempt)
    job = service.until(job_id, "succeeded")
    assert attempt.closed.is_set()
    assert (job["parameters_sha256"], job["progress"], job["metrics"]) == (DIGEST, DONE, {"train_loss": 0.5})
    assert (job["workers"], job["attempt"], job["reason"], job["error"]) == (2, 1, None, None)
    assert job["environment"] == {"blas_kernel": "Haswell"}
    assert job["created_at"] < job["started_at"] < job["finished_at"]
    items = service.http.get(f"/v1/jobs/{job_id}/metrics", params={"after": 4}).json()["items"]
    assert items == [{"step": 8, "epoch": 8, "elapsed_s": 0.1, "train_loss": 0.125}]
    assert service.history(job_id) == ["queued", "running", "succeeded"]


def test_numbers_that_json_cannot_hold_become_null(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().tell("progress", **DONE, metrics={"train_loss": float("nan")}).end("cancelled")
    assert service.until(job_id, "cancelled")["metrics"] == {"train_loss": None}


# ---------------------------------------------------------------- waiting for CPUs
def test_jobs_that_wait_start_in_order_as_cpus_become_free(service: Service) -> None:
    first = service.submit(workers={"min": 2, "max": 2})["id"]
    attempt = service.cluster.next_job()
    late = service.submit(priority=0, workers=2)["id"]
    early = service.submit(priority=5)["id"]
    assert "CPU" in service.job(late)["reason"]
    cluster = service.http.get("/v1/cluster").json()
    assert (cluster["cpus_free"], [node["cpus_free"] for node in cluster["nodes"]]) == (0, [0])
    succeed(attempt)
    service.until(first, "succeeded")
    launched = [service.cluster.next_job().job for _ in range(2)]  # each by a thread of its own, in either order
    assert {(job.id, job.workers) for job in launched} == {(early, 1), (late, 1)}
    assert service.job(early)["started_at"] < service.job(late)["started_at"]


def test_a_job_takes_no_more_workers_than_it_has_shards(service: Service) -> None:
    service.submit(workers=2, shards=1)
    assert service.cluster.next_job().job.workers == 1


def test_a_job_that_is_too_large_says_so(service: Service) -> None:
    job_id = service.submit(workers={"min": 4, "max": 4})["id"]
    service.submit()
    service.cluster.next_job()  # the scheduler has been there
    service.submit()
    service.cluster.next_job()
    assert service.job(job_id)["reason"] == "needs 4 CPUs at once; the cluster has 2"


# ---------------------------------------------------------------- stopping
def test_a_paused_job_is_resumed_in_the_same_attempt(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    assert service.act(job_id, "pause")["state"] == "running"
    assert attempt.asked() == "pause"
    service.act(job_id, "pause")
    attempt.end("paused")
    assert service.until(job_id, "paused")["reason"] == "paused by request"
    assert service.cluster.nothing_launched()
    service.act(job_id, "resume")
    again = service.cluster.next_job()
    assert again.job.attempt == 1
    assert service.until(job_id, "running", times=2)["reason"] is None
    succeed(again)
    service.until(job_id, "succeeded")
    assert service.history(job_id) == ["queued", "running", "paused", "running", "succeeded"]


def test_a_resumed_job_stays_paused_until_it_has_cpus(service: Service) -> None:
    job_id = service.submit(workers={"min": 2, "max": 2})["id"]
    attempt = service.cluster.next_job()
    service.act(job_id, "pause")
    attempt.end("paused")
    service.until(job_id, "paused")
    service.submit(workers=2)
    other = service.cluster.next_job()
    assert service.act(job_id, "resume")["state"] == "paused"
    assert service.job(job_id)["reason"].startswith("resumes when")
    succeed(other)
    assert service.cluster.next_job().job.id == job_id


def test_a_pause_withdraws_a_resume_that_waits(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    service.act(job_id, "pause")
    attempt.end("paused")
    service.until(job_id, "paused")
    for _ in range(2):
        service.submit()
    others = [service.cluster.next_job() for _ in range(2)]
    service.act(job_id, "resume")
    service.act(job_id, "pause")
    for other in others:
        succeed(other)
        service.until(other.job.id, "succeeded")
    assert service.job(job_id)["state"] == "paused"
    assert service.act(job_id, "cancel")["state"] == "cancelled"


def test_a_running_job_is_cancelled_when_its_attempt_has_stopped(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    assert service.act(job_id, "cancel")["state"] == "running"
    assert service.http.post(f"/v1/jobs/{job_id}/pause").status_code == 409
    assert attempt.asked() == "cancel"
    attempt.end("cancelled")
    assert service.until(job_id, "cancelled")["finished_at"] is not None
    assert service.act(job_id, "cancel")["state"] == "cancelled"


def test_a_queued_job_is_cancelled_at_once_and_never_starts(service: Service) -> None:
    service.submit(workers={"min": 2, "max": 2})
    running = service.cluster.next_job()
    job_id = service.submit()["id"]
    assert service.act(job_id, "cancel")["state"] == "cancelled"
    succeed(running)
    service.until(running.job.id, "succeeded")
    assert service.cluster.nothing_launched()


def test_a_job_that_trains_to_its_end_before_it_heeds_its_cancel_is_cancelled_without_a_model(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    model = service.control.folder.model(job_id)
    model.write_bytes(b"a model")
    service.act(job_id, "cancel")
    succeed(attempt)
    job = service.until(job_id, "cancelled")
    assert (job["reason"], job["parameters_sha256"]) == ("cancelled by request while running", None)
    assert service.http.get(f"/v1/jobs/{job_id}/model").status_code == 409
    while model.exists():
        threading.Event().wait(0.01)
    assert service.control.store.any_job(job_id).model_bytes == 0


def test_a_cancel_after_the_end_is_a_conflict_that_says_the_state(service: Service) -> None:
    job_id = service.submit()["id"]
    succeed(service.cluster.next_job())
    service.until(job_id, "succeeded")
    answer = service.http.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 409
    assert "succeeded" in answer.json()["detail"]


# ---------------------------------------------------------------- giving way
def test_a_job_shrinks_for_a_higher_one_which_starts_once_that_is_told(service: Service) -> None:
    low = service.submit(workers=2)["id"]
    attempt = service.cluster.next_job()
    attempt.resizes_at_once = False
    high = service.submit(priority=5)["id"]
    assert attempt.resized() == 1
    assert service.job(high)["state"] == "queued"
    assert service.http.get("/v1/cluster").json()["cpus_free"] == 0
    attempt.compute_on(1, "a job of higher priority needs the others")
    assert service.cluster.next_job().job.id == high
    assert service.job(low)["workers"] == 1
    (told,) = [row.data for row in service.control.store.events_after(TENANT, low, 0, 10, kind="workers")[0]]
    assert told["at"] < now()
    assert (told["workers"], told["why"]) == (1, "a job of higher priority needs the others")


def test_a_preempted_job_says_for_whom_it_is_paused_and_resumes_by_itself(service: Service) -> None:
    low = service.submit(workers={"min": 2, "max": 2})["id"]
    attempt = service.cluster.next_job()
    high = service.submit(workers={"min": 2, "max": 2}, priority=5)["id"]
    assert attempt.asked() == "pause"
    assert service.cluster.nothing_launched()
    attempt.end("paused")
    paused = service.until(low, "paused")
    assert paused["reason"] == f"preempted by {high} (priority 5); resumes by itself when 2 CPUs are free"
    succeed(service.cluster.next_job())
    service.until(high, "succeeded")
    again = service.cluster.next_job()
    assert (again.job.id, again.job.attempt) == (low, 1)
    succeed(again)
    service.until(low, "succeeded")
    assert service.history(low) == ["queued", "running", "paused", "running", "succeeded"]


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_preempted_job_that_is_paused_or_cancelled_does_not_resume_by_itself(
    service: Service, verb: str, state: str
) -> None:
    low = service.submit(workers={"min": 2, "max": 2})["id"]
    attempt = service.cluster.next_job()
    high = service.submit(workers={"min": 2, "max": 2}, priority=5)["id"]
    attempt.asked()
    attempt.end("paused")
    service.until(low, "paused")
    service.act(low, verb)
    succeed(service.cluster.next_job())
    service.until(high, "succeeded")
    service.submit(workers=2)
    assert service.cluster.next_job().job.id != low
    assert service.job(low)["state"] == state


# ---------------------------------------------------------------- failing
def test_a_failed_job_says_why_and_is_not_tried_again(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().end("failed", reason="diverged at step 3", error="Diverged")
    job = service.until(job_id, "failed")
    assert job["error"] == {"type": "Diverged", "detail": "diverged at step 3"}
    assert job["reason"] == "diverged at step 3"
    assert service.cluster.nothing_launched()


def test_a_lost_attempt_is_followed_by_another_until_it_is_given_up(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().lose("a worker died")
    second = service.cluster.next_job()
    assert second.job.attempt == 2
    database = service.control._database
    assert database is not None
    with database.writing() as connection:  # as if minutes of losses had passed
        connection.execute(sa.update(jobs).values(losses=MAX_LOSSES_WITHOUT_PROGRESS - 1))
    second.lose("a worker died")
    job = service.until(job_id, "failed")
    assert job["error"]["type"] == "AttemptLost"
    assert "a worker died" in job["reason"]
    assert job["attempt"] == 2


def test_an_internal_error_is_tried_again_once_and_its_words_are_left_to_the_log(service: Service) -> None:
    job_id = service.submit()["id"]
    for _ in range(MAX_INTERNAL_ERRORS):
        service.cluster.next_job().lose(loss_by(TypeError("secret")))
    job = service.until(job_id, "failed")
    assert job["reason"] == "internal error (TypeError); the service's log has the details"
    assert job["error"] == {"type": "InternalError", "detail": job["reason"]}
    assert "secret" not in service.http.get(f"/v1/jobs/{job_id}/history").text
    assert service.cluster.nothing_launched()


class Shared(ScriptedCluster):
    """A cluster that other programs use too: it has a place for small jobs only."""

    def launch(self, job: TrainingJob) -> ScriptedJob:
        if job.workers > 1:
            raise NotPlaced("the cluster found no place for it within 60 s")
        return super().launch(job)


def test_a_job_for_which_the_cluster_has_no_place_waits_without_being_lost_and_holds_up_nobody(start: Start) -> None:
    service = start(Shared())
    service.upload()
    big = service.submit(workers={"min": 2, "max": 2})["id"]
    job = service.until(big, "queued", times=2)
    assert job["reason"].startswith("the cluster found no place for it within 60 s")
    assert service.control.store.any_job(big).losses == 0
    small = service.submit()["id"]
    assert service.cluster.next_job().job.id == small
    assert service.job(big)["reason"] == job["reason"]


def test_progress_forgives_losses(service: Service) -> None:
    job_id = service.submit()["id"]
    for number in range(1, 2 * MAX_LOSSES_WITHOUT_PROGRESS + 1):
        attempt = service.cluster.next_job().tell("checkpoint", step=number).tell_metrics(number)
        while len(service.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"]) < number:
            threading.Event().wait(0.01)
        attempt.lose("a worker died")
    succeed(service.cluster.next_job())
    assert service.until(job_id, "succeeded")["attempt"] == 2 * MAX_LOSSES_WITHOUT_PROGRESS + 1


def test_a_lost_attempt_is_closed_before_the_next_one_starts(service: Service) -> None:
    service.submit()
    first = service.cluster.next_job()
    first.lose("a worker died")
    service.cluster.next_job()
    assert first.closed.is_set()


# ---------------------------------------------------------------- trouble with disks and buckets
def test_trouble_is_said_on_the_job_and_in_its_history_until_a_checkpoint_mends_it(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job().tell("trouble", reason="checkpoints cannot be written")
    assert service.until(job_id, "running", times=2)["reason"] == "checkpoints cannot be written"
    attempt.tell("checkpoint", step=1).tell_metrics(1)
    while not service.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"]:
        threading.Event().wait(0.01)
    assert service.job(job_id)["reason"] is None
    moves = service.http.get(f"/v1/jobs/{job_id}/history").json()["items"]
    assert [(move["from"], move["to"]) for move in moves][1:] == [("queued", "running"), ("running", "running")]
    assert moves[-1]["why"] == "checkpoints cannot be written"
    succeed(attempt)


def test_a_checkpoint_leaves_the_reason_alone_that_is_not_its_own(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    service.act(job_id, "pause")
    attempt.tell("checkpoint", step=1).tell_metrics(1)
    while not service.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"]:
        threading.Event().wait(0.01)
    assert service.job(job_id)["reason"] == "is being paused"
    attempt.end("paused")


def test_a_job_that_cannot_go_on_is_paused_with_the_reason_until_somebody_resumes_it(service: Service) -> None:
    job_id = service.submit()["id"]
    service.cluster.next_job().end("paused", reason="its model cannot be written: No space left on device")
    assert service.until(job_id, "paused")["reason"] == "its model cannot be written: No space left on device"
    assert service.cluster.nothing_launched()
    service.act(job_id, "resume")
    succeed(service.cluster.next_job())
    service.until(job_id, "succeeded")


# ---------------------------------------------------------------- ending and starting the service
def test_a_service_that_stops_lets_its_jobs_write_a_checkpoint_and_the_next_one_resumes_them(
    start: Start, database_url: str
) -> None:
    service = start(database_url=database_url)
    service.upload()
    job_id, waiting = service.submit(workers={"min": 2, "max": 2})["id"], service.submit(workers=2)["id"]
    attempt = service.cluster.next_job()
    answers = threading.Thread(target=lambda: (attempt.asked(), attempt.end("paused")))
    answers.start()
    service.stop()
    answers.join()
    assert service.cluster.stopped.is_set()
    service = start(database_url=database_url)
    again = service.cluster.next_job()
    assert (again.job.id, again.job.attempt) == (job_id, 2)
    assert service.history(job_id) == ["queued", "running", "queued", "running"]
    assert service.job(waiting)["attempt"] == 1


def test_a_job_that_was_running_when_the_service_died_is_tried_again(start: Start, database_url: str) -> None:
    service = start(database_url=database_url)
    service.upload()
    job_id = service.submit(name="survivor", labels={"a": "b"})["id"]
    service.cluster.next_job()
    before = service.job(job_id)
    service.stop()
    database = Database(database_url)
    as_a_kill_leaves_it = Move(JobState.RUNNING, "started on 1 CPU")
    assert Store(database).move(job_id, 2, JobState.QUEUED, lambda _: as_a_kill_leaves_it)
    database.close()
    service = start(database_url=database_url)
    assert service.cluster.next_job().job.attempt == 3
    after = service.job(job_id)
    assert {name: after[name] for name in ("spec", "created_at", "started_at", "dataset_sha256", "labels")} == {
        name: before[name] for name in ("spec", "created_at", "started_at", "dataset_sha256", "labels")
    }
    why = service.http.get(f"/v1/jobs/{job_id}/history").json()["items"][-2]["why"]
    assert why == "the service was interrupted; resumes from its checkpoint"


def test_an_attempt_that_outlived_the_service_is_followed_again_and_not_started_anew(
    start: Start, database_url: str
) -> None:
    service = start(database_url=database_url)
    service.upload()
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    attempt.obey()
    service.stop()
    database = Database(database_url)
    as_a_kill_leaves_it = Move(JobState.RUNNING, "started on 1 CPU")
    assert Store(database).move(job_id, 2, JobState.QUEUED, lambda _: as_a_kill_leaves_it, workers=1)
    line = {"level": "info", "source": "coordinator", "message": "taken in before the kill"}
    assert Store(database).record(job_id, 3, [Told("log", line, report=1)], last_report=1)
    database.close()
    cluster, survivor = ScriptedCluster(), ScriptedJob(attempt.job)
    cluster.left[job_id] = survivor
    for when in ("before", "after"):
        survivor.tell("log", level="info", message=f"taken in {when} the kill")
    service = start(cluster, database_url)
    assert service.http.get("/v1/cluster").json()["cpus_free"] == 1
    survivor.tell_metrics(7)
    succeed(survivor)
    job = service.until(job_id, "succeeded")
    assert (job["attempt"], job["parameters_sha256"], survivor.closed.is_set()) == (2, DIGEST, True)
    log = [line["message"] for line in service.http.get(f"/v1/jobs/{job_id}/logs").json()["items"]]
    assert [message for message in log if message.startswith("taken in")] == [
        "taken in before the kill",
        "taken in after the kill",
    ]
    assert cluster.nothing_launched()


def test_two_services_do_not_share_a_data_folder(service: Service) -> None:
    second = ControlPlane(service.control.settings, ScriptedCluster)
    with pytest.raises(Unavailable, match="in use by another service"):
        second.start()


def test_a_service_is_not_ready_before_its_cluster_has_started_but_takes_jobs(tmp_path: Any) -> None:
    may_start = threading.Event()

    class Slow(ScriptedCluster):
        def start(self) -> None:
            assert may_start.wait(10)

    settings = Settings(data_dir=tmp_path / "data")
    service = Service(settings, Slow())
    try:
        while service.http.get("/v1/jobs").status_code != 200:
            threading.Event().wait(0.01)
        answer = service.http.get("/readyz")
        assert answer.status_code == 503
        assert "the cluster is starting" in answer.json()["detail"]
        assert answer.headers["retry-after"]
        assert service.http.get("/v1/cluster").status_code == 503
        assert service.http.get("/healthz").status_code == 200
        service.upload()
        job_id = service.submit()["id"]
        may_start.set()
        assert service.cluster.next_job().job.id == job_id
        assert service.http.get("/readyz").status_code == 200
    finally:
        may_start.set()
        service.cluster.let_go()
        service.stop()


def test_the_cpus_that_are_free_are_told_by_node(tmp_path: Any) -> None:
    class TwoNodes(ScriptedCluster):
        def nodes(self) -> list[Node]:
            return [Node(f"node {number}", "127.0.0.1", 2.0, 2**30, "Haswell") for number in range(2)]

        def cpus_held(self) -> dict[str, int]:
            return {"node 1": 2, "a node that is lost": 1}

    service = Service(Settings(data_dir=tmp_path / "data"), TwoNodes())
    try:
        while service.http.get("/readyz").status_code != 200:
            threading.Event().wait(0.01)
        nodes = service.http.get("/v1/cluster").json()["nodes"]
        assert [(node["id"], node["cpus_free"]) for node in nodes] == [("node 0", 2.0), ("node 1", 0.0)]
    finally:
        service.stop()


def test_a_job_does_not_wait_longer_than_it_may_for_a_cluster_that_does_not_start(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(ScriptedCluster):
        def start(self) -> None:
            raise ConnectionError("no head at 10.0.0.1")

    monkeypatch.setattr("service.control.TRY_AGAIN_S", 0.05)
    service = Service(Settings(data_dir=tmp_path / "data"), Never())
    try:
        while service.http.get("/v1/jobs").status_code != 200:
            threading.Event().wait(0.01)
        service.upload()
        job = service.until(service.submit(max_wait_s=1)["id"], "failed")
        assert job["error"]["type"] == "WaitedTooLong"
    finally:
        service.stop()


def test_a_cluster_that_does_not_start_is_tried_again_and_the_service_says_so(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(ScriptedCluster):
        tries = 0

        def start(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise ConnectionError("no head at 10.0.0.1")

    service = Service(Settings(data_dir=tmp_path / "data"), Failing())
    try:
        details = set()
        while not service.control.ready.wait(0.02):
            details.add(service.http.get("/readyz").json().get("detail", "ready"))  # by now it may be
        assert any("the cluster could not be started (ConnectionError)" in detail for detail in details)
        assert not any("10.0.0.1" in detail for detail in details)
        assert "no head at 10.0.0.1" in caplog.text
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EACCES, "Permission denied", "/srv/chainrule/admin.key"), "Permission denied"),
        (sa.exc.OperationalError("", {}, Exception('user "me" at 10.0.0.1:5432')), "OperationalError"),
        (ValueError("/srv/chainrule"), "ValueError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_with_the_database_is_told_in_kind_and_only_the_log_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, kind: str
) -> None:
    def migrate(_: Database) -> None:
        raise error

    monkeypatch.setattr(Database, "migrate", migrate)
    service = Service(Settings(data_dir=tmp_path / "data"), ScriptedCluster())
    try:
        asking = {"Authorization": "Bearer whoever asks"}
        while kind not in (detail := service.http.get("/v1/jobs", headers=asking).json()["detail"]):
            threading.Event().wait(0.01)
        told = detail + service.http.get("/readyz").json()["detail"]
    finally:
        service.stop()
    assert told.count(f"({kind}); the service's log says more") == 2
    assert not any(word in told for word in ("/srv", "10.0.0.1"))
    assert any(word in caplog.text for word in ("/srv", "10.0.0.1"))


def test_a_start_of_which_nobody_could_be_told_still_tidies_up_and_delivers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def say(_: Credentials) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    killed = DataFolder(tmp_path / "data")
    killed.open()
    left = killed.datasets / "ds_killed"
    left.mkdir()
    with pytest.raises(SystemExit), killed.in_doubt("ds_killed"):
        raise SystemExit
    killed.close()
    control = ControlPlane(Settings(data_dir=tmp_path / "data"), ScriptedCluster, on_open=say)
    control.start()
    try:
        while left.exists() or control.folder.doubts():
            threading.Event().wait(0.01)
        assert {thread.name for thread in threading.enumerate()} >= {"database", "webhooks"}
        assert "BrokenPipeError" in caplog.text
    finally:
        control.stop()


def test_what_cannot_be_settled_for_a_reason_that_nobody_thought_of_is_tried_again(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    mark = service.control.folder.path / "in_doubt" / os.fsdecode(b"ds_\xff")  # a name that no database takes
    mark.touch()
    service.control.settle()
    assert "UnicodeEncodeError" in caplog.text
    assert mark.exists()
