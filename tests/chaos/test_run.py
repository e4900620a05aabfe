"""An experiment's own place: what it draws, and what it leaves behind."""

import subprocess
import sys

import pytest

from chaos.run import LeftBehind, Run, own_place

SLEEPS = [sys.executable, "-c", "import sys, time; print('started', flush=True); time.sleep(600)"]


def silent() -> Run:
    return Run(lambda text: None, seed=3)


def started() -> subprocess.Popen[str]:
    """A process that lives until it is killed."""
    process = subprocess.Popen(SLEEPS, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end_of(process: subprocess.Popen[str]) -> int:
    with process:
        return process.wait(10)


def test_the_same_seed_draws_the_same_for_an_experiment_and_other_chances_for_another() -> None:
    drawn = []
    for name in ("workers", "workers", "nodes"):
        with own_place(silent(), name) as run:
            drawn.append(run.draw.random())
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_process_that_is_left_behind_is_told_and_killed_with_the_folder() -> None:
    with (
        pytest.raises(LeftBehind, match=r"1 processes were left behind: .*time\.sleep"),
        own_place(silent(), "x") as run,
    ):
        process = started()
        assert run.processes() == [process.pid]
    assert end_of(process) == -9
    assert not run.folder.exists()


def test_an_experiment_that_is_interrupted_leaves_nothing_behind() -> None:
    with pytest.raises(KeyboardInterrupt), own_place(silent(), "x") as run:
        process = started()
        raise KeyboardInterrupt
    assert end_of(process) == -9
    assert not run.folder.exists()


def test_processes_that_others_started_are_not_the_experiments_own() -> None:
    process = started()
    try:
        with own_place(silent(), "x") as run:
            assert run.processes() == []
    finally:
        process.kill()
        end_of(process)
