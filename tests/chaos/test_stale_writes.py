"""Files that an attempt makes after it was given up are found by their group."""

import os
import time
from pathlib import Path

import pytest

from chaos.stale_writes import StaleWrites

HERE, THERE = 61_002, 61_003

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes files of groups that it is not in")


def made(path: Path, group: int) -> Path:
    """A new file, which gets its name once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    os.chown(partial, -1, group)
    return partial.rename(path)


def test_a_checkpoint_that_a_node_makes_after_its_mark_has_gone_is_a_stale_write(tmp_path: Path) -> None:
    stale, folder = StaleWrites(tmp_path), tmp_path / "job_a"
    mark = made(folder / "attempt.1", HERE)
    made(folder / "checkpoints" / "step-1.safetensors", HERE)
    stale.look()
    made(folder / "attempt.2", THERE)
    made(folder / "checkpoints" / "step-2.safetensors", HERE)  # its successor waits until its mark is gone
    stale.look()
    mark.unlink()
    made(folder / "checkpoints" / "step-3.safetensors", THERE)
    stale.look()
    assert stale.found == []
    since_ns = time.time_ns()
    late = made(folder / "checkpoints" / "step-4.safetensors", HERE)
    while late.stat().st_ctime_ns <= since_ns:  # the clock of files ticks every few milliseconds
        os.utime(late)
    stale.look()
    stale.look()
    [found] = stale.found
    assert found.startswith("job_a/checkpoints/step-4.safetensors was made 0.")


def test_a_node_on_which_the_next_attempt_begins_may_write_again(tmp_path: Path) -> None:
    stale, folder = StaleWrites(tmp_path), tmp_path / "job_a"
    mark = made(folder / "attempt.1", HERE)
    stale.look()
    mark.unlink()
    stale.look()
    made(folder / "attempt.2", HERE)
    made(folder / "model.safetensors", HERE)
    stale.look()
    assert stale.found == []
