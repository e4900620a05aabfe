"""Checkpoints are complete or absent, verified when read, and the newest two are kept."""

import os
from pathlib import Path

import numpy as np
import pytest

from workers import checkpoint
from workers.checkpoint import Checkpoint
from workers.parameter_server import ServerState


def at(step: int, *, best: bool = True) -> Checkpoint:
    vector = np.arange(5, dtype=np.float32) + step
    return Checkpoint(
        step, ServerState(vector, {"m": vector * 2, "v": vector * 3}, vector * 4 if best else None), {"x": 1}
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, at(7))
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert (found.step, found.memory) == (7, {"x": 1})
    np.testing.assert_array_equal(found.server.parameters, at(7).server.parameters)
    np.testing.assert_array_equal(found.server.slots["v"], at(7).server.slots["v"])
    assert found.server.best is not None


def test_there_is_none_in_an_empty_or_missing_folder(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "missing") is None


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 300):
        checkpoint.write(tmp_path, at(step, best=False))
    assert sorted(path.name[5:17] for path in tmp_path.iterdir()) == ["000000000010", "000000000300"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, at(1))
    newest = checkpoint.write(tmp_path, at(2))
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1


def test_a_truncated_or_partial_file_is_never_taken_for_a_checkpoint(tmp_path: Path) -> None:
    whole = checkpoint.write(tmp_path, at(2))
    os.truncate(whole, 20)
    (tmp_path / f".{whole.name}.partial").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    checkpoint.write_atomically(target, b"before")
    (tmp_path / ".model.safetensors.partial").mkdir()
    with pytest.raises(OSError):
        checkpoint.write_atomically(target, b"after")
    assert target.read_bytes() == b"before"
