"""A job over two nodes of a Ray cluster: one process's bits, through the encrypted relay and through Ray's calls."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from support.found_again import LONG_ENOUGH
from support.silent_processes import ANSWERS, ANSWERS_TOO, SILENT
from support.training import digest_of, job_of, run

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


def on_two_nodes(program: str, *arguments: str) -> dict[str, Any]:
    """What a program on a Ray cluster of its own printed last."""
    other_tests = {name for name in os.environ if name.startswith("RAY_")} - {"RAY_worker_niceness"}
    environment = {name: value for name, value in os.environ.items() if name not in other_tests}
    with tempfile.TemporaryDirectory(prefix="cr-") as sockets:  # a path that is short enough for them
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "RAY_TMPDIR": sockets},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    end: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert end["outcome"] == "succeeded", end
    return end


@pytest.mark.parametrize("transport", ["direct", "ray"])
def test_workers_on_two_nodes_give_the_bits_of_one_process(tmp_path: Path, transport: str) -> None:
    end = on_two_nodes("support.two_nodes", str(tmp_path / "job"), transport)
    assert end["parameters_sha256"] == digest_of(run(job_of(tmp_path / "alone")))
    assert "note" not in end["environment"]
    assert end["held"] == [1, 2], "CPUs of each node"
    processes = {name: len(ids) for name, ids in end["processes"].items()}
    expected = {
        "direct": {"coordinator": 1, "workers": 2},
        "ray": {"coordinator": 1, "workers": 3},
    }
    assert processes == expected[transport], "the coordinator is the first worker, unless Ray's calls are to be made"


def test_an_attempt_whose_control_plane_was_killed_is_found_and_followed_to_its_end(tmp_path: Path) -> None:
    end = on_two_nodes("support.found_again", str(tmp_path / "job"))
    assert end["parameters_sha256"] == digest_of(run(job_of(tmp_path / "alone", **LONG_ENOUGH)))
    assert end["first"] == 1, "nothing that it told is lost"
    assert end["left"] == {}, "its CPUs are free again"


def test_whoever_does_not_answer_is_waited_for_once_and_not_at_all_where_all_that_is_sought_has(tmp_path: Path) -> None:
    answer, gone, one_silent = on_two_nodes("support.silent_processes", str(tmp_path))["looks"]
    assert (answer["found"], gone["found"], one_silent["found"]) == ([ANSWERS, ANSWERS_TOO], [], [ANSWERS, ANSWERS_TOO])
    assert answer["took"] < 1.0 <= gone["took"], "it may be any that is silent"
    assert gone["held"] == [ANSWERS, ANSWERS_TOO, SILENT]
    assert 2.0 <= one_silent["took"] < 3.0
    assert one_silent["held"] == [ANSWERS, ANSWERS_TOO], "its CPUs are given back"


def test_a_cluster_that_does_not_answer_at_first_is_joined_once_it_does_and_keeps_no_spares_of_nodes_that_are_gone(
    tmp_path: Path,
) -> None:
    end = on_two_nodes("support.nodes_that_go", str(tmp_path / "data"))
    assert (end["joined"], end["nodes_with_spares"]) == (2, 1)
