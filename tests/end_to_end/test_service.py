"""The service while it runs: health, the cluster, errors."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.running_service import DATA, RunningService, free_port
from workers.blas import KERNELS, cpu_flags

pytestmark = pytest.mark.ray

SMALL: dict[str, Any] = {"dataset": "wine", "target": "quality", "layers": [], "batch_size": 500, "epochs": 20}


def test_health_answers_at_once_and_readiness_says_when_jobs_are_taken(service: RunningService) -> None:
    assert service.http.get("/healthz").status_code == 200
    assert service.http.get("/readyz").status_code == 200
    cluster = service.http.get("/v1/cluster").json()
    assert cluster["cpus"] == 8
    assert len(cluster["nodes"]) == 1


def test_the_command_line_finds_the_key_of_a_running_service_from_any_folder(
    service: RunningService, tmp_path: Path
) -> None:
    command = [
        Path(sys.executable).with_name("chainrule"),
        "--url",
        str(service.http.base_url),
        "keys",
        "list",
        "--json",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=service.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "admin" in [key["name"] for key in json.loads(done.stdout)["items"]]  # other tests may have made keys


def test_a_mistake_in_a_spec_is_refused_with_field_got_and_expected(service: RunningService) -> None:
    service.upload("wine", DATA / "wine-quality-white.csv")
    response = service.http.post("/v1/jobs", json={**SMALL, "layers": [{"type": "dense", "units": -3}]})
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["errors"] == [
        {"field": "layers[0].units", "got": -3, "expected": "an integer from 1 to 1,000,000"}
    ]


def test_a_port_that_is_in_use_is_refused_in_one_line_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [Path(sys.executable).with_name("chainrule"), "serve", "--port", str(port), "--data-dir", tmp_path]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    expected = f"chainrule: 127.0.0.1:{port} is in use by another program; choose another port with --port\n"
    assert ended.stderr == expected


def test_settings_that_cannot_be_are_refused_in_one_line_that_names_each() -> None:
    command = [Path(sys.executable).with_name("chainrule"), "serve", "--transport", "pigeon", "--checkpoints", "gs://b"]
    environ = {**os.environ, "CHAINRULE_BLAS_KERNEL": "Cray"}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert ended.stderr.count("\n") == 1
    assert "--transport: Input should be 'direct' or 'ray', got 'pigeon'" in ended.stderr
    assert "--blas-kernel" in ended.stderr
    assert "--checkpoints: expected s3://bucket or s3://bucket/prefix, got 'gs://b'" in ended.stderr


def test_a_bucket_that_cannot_be_reached_is_refused_in_one_line_at_the_start(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("chainrule"), "serve", "--data-dir", tmp_path, "--checkpoints"]
    environ = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_ACCESS_KEY_ID": "x"}
    environ["AWS_SECRET_ACCESS_KEY"] = "x"
    ended = subprocess.run(
        [*command, "s3://bucket/a"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("chainrule: checkpoints cannot be kept at s3://bucket/a: got the bucket cannot ")


def test_the_kernel_that_was_asked_for_is_what_cluster_and_job_tell(tmp_path: Path) -> None:
    """Every x86-64 CPU that is in use runs Nehalem's, which none would take by itself."""
    if not cpu_flags() >= KERNELS["Nehalem"]:
        pytest.skip("this CPU cannot run the kernel")
    service = RunningService(tmp_path, cpus=2, options=["--blas-kernel", "Nehalem"]).start().until_ready()
    try:
        assert service.http.get("/v1/cluster").json()["blas_kernel"] == "Nehalem"
        service.upload("wine", DATA / "wine-quality-white.csv")
        assert service.trained(**SMALL, workers=2)["environment"]["blas_kernel"] == "Nehalem"
    finally:
        service.stop()
