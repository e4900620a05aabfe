"""The service as a process: how it starts, shares its CPUs between jobs, and ends."""

import time
from pathlib import Path
from typing import Any

import pytest

from support.running_service import DATA, RunningService

pytestmark = pytest.mark.ray

SMALL: dict[str, Any] = {"dataset": "wine", "target": "quality", "layers": [], "batch_size": 500, "epochs": 20}


def test_three_jobs_on_two_cpus_all_end_and_those_that_wait_start_by_priority(tmp_path: Path) -> None:
    service = RunningService(tmp_path, cpus=2).start()
    try:
        service.until_ready().upload("wine", DATA / "wine-quality-white.csv")
        first = service.submit(**SMALL, workers={"min": 2, "max": 2}, name="first")
        service.until(first["id"], "running")
        late, early, one_more = (
            service.submit(**SMALL, workers=workers, priority=priority)
            for priority, workers in [(0, 2), (5, {"min": 1, "max": 1}), (5, {"min": 1, "max": 1})]
        )
        assert "CPU" in service.job(late["id"])["reason"]
        ended = {job["id"]: service.until(job["id"], "succeeded") for job in (first, early, one_more, late)}
        started = sorted(ended, key=lambda job_id: ended[job_id]["started_at"])
        assert started == [first["id"], early["id"], one_more["id"], late["id"]]
        assert ended[one_more["id"]]["started_at"] < ended[early["id"]]["finished_at"], "two ran at once"
    finally:
        service.stop()


def test_sigterm_ends_the_service_and_all_that_it_started_within_10_s_and_the_job_goes_on_later(tmp_path: Path) -> None:
    service = RunningService(tmp_path, cpus=2).start()
    try:
        service.until_ready().upload("wine", DATA / "wine-quality-white.csv")
        job = service.submit(**{**SMALL, "epochs": 400}, workers=2)
        for kind, data in service.events(job["id"]):
            if kind == "metrics" and data["epoch"] >= 5:
                break
        took_s = service.stop()
        deadline = time.monotonic() + 10 - took_s
        while service.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.processes() == []
        service.start().until_ready()
        assert service.until(job["id"], "succeeded")["attempt"] == 2
    finally:
        service.stop()
    assert took_s < 10


def test_health_answers_at_once_and_readiness_says_when_jobs_are_taken(service: RunningService) -> None:
    assert service.http.get("/healthz").status_code == 200
    assert service.http.get("/readyz").status_code == 200
    cluster = service.http.get("/v1/cluster").json()
    assert cluster["cpus"] == 8
    assert len(cluster["nodes"]) == 1


def test_a_mistake_in_a_spec_is_refused_with_field_got_and_expected(service: RunningService) -> None:
    service.upload("wine", DATA / "wine-quality-white.csv")
    response = service.http.post("/v1/jobs", json={**SMALL, "layers": [{"type": "dense", "units": -3}]})
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["errors"] == [
        {"field": "layers[0].units", "got": -3, "expected": "an integer from 1 to 1,000,000"}
    ]
