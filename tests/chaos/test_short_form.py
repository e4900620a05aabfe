"""The short form of `make chaos`: a few kills of each kind, real processes and real signals, about two minutes.

How long a job takes to recover depends on what else the machine does, so no time is tested; `make chaos` measures it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.running_service import ROOT

SHORT = ("workers", "coordinators", "everything")  # the control plane alone: tests/end_to_end/test_restarts.py


@pytest.mark.chaos
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_whatever_is_killed_no_job_is_lost_and_every_digest_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos", "--quick", "--into", str(tmp_path), "--logs", str(tmp_path)]
    for name in SHORT:
        command += ["--only", name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate()
        finally:
            process.terminate()  # which has it stop what it started, when the test is interrupted
    assert (tmp_path / "results.json").exists(), said
    told = json.loads((tmp_path / "results.json").read_text())["experiments"]
    assert [experiment["name"] for experiment in told] == list(SHORT), said
    assert [lost_by(experiment) for experiment in told] == [None] * len(SHORT), said


def lost_by(experiment: dict[str, Any]) -> str | None:
    """What is wrong with an experiment, but for the time it took."""
    found = experiment["finding"]
    if found is None:
        return f"{experiment['name']}: {experiment['failure']}"
    if found["lost"] or found["differing"] or found["broken"] or found["disturbances"] < found["wanted"]:
        return f"{experiment['name']}: {found}"
    return None
