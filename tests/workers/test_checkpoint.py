"""Checkpoints are complete or absent, verified when read, and the newest two are kept."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from support.checkpoints import FullDisk, at, same, steps_in, write
from workers.checkpoint import newest, newest_readable
from workers.checkpoint_files import superseded
from workers.disk import write_atomically
from workers.storage import Folder, StorageAway


def found_in(folder: Path) -> Any:
    return newest(Folder(folder))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(Folder(tmp_path), at(7))
    found, damaged = found_in(tmp_path)
    assert same(found, at(7))
    assert damaged == []


def test_a_checkpoint_is_a_safetensors_file_that_the_library_itself_reads(tmp_path: Path) -> None:
    write(Folder(tmp_path), at(7, dtype="float64"))
    (path,) = tmp_path.iterdir()
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"step": "7", "memory": '{"x": 1}'}
        assert set(file.keys()) == {"parameters", "slots.m", "slots.v", "best"}
        np.testing.assert_array_equal(file.get_tensor("slots.v"), at(7, dtype="float64").server.slots["v"])
    length = int.from_bytes(path.read_bytes()[:8], "little")
    assert length % 8 == 0, "numbers lie at multiples of their size"


def test_there_is_none_in_an_empty_or_missing_folder(tmp_path: Path) -> None:
    assert found_in(tmp_path) == (None, [])
    assert found_in(tmp_path / "missing") == (None, [])


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 300):
        write(Folder(tmp_path), at(step, best=False))
    assert steps_in(Folder(tmp_path)) == [10, 300]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2):
        write(Folder(tmp_path), at(step))
    name = damage(tmp_path, 2)
    found, damaged = found_in(tmp_path)
    assert same(found, at(1))
    assert damaged == [name]


def damage(folder: Path, step: int) -> str:
    """Changes a bit; returns the file's name."""
    (path,) = folder.glob(f"step-{step:012d}-*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path.name


def test_a_damaged_checkpoint_takes_no_whole_ones_place(tmp_path: Path) -> None:
    """Training goes on from step 1, so that those after it are older than the damaged one, which has a higher step."""
    for step in (1, 9):
        write(Folder(tmp_path), at(step))
    write(Folder(tmp_path), at(5), damaged=[damage(tmp_path, 9)])
    assert steps_in(Folder(tmp_path)) == [1, 5]


def test_a_damaged_checkpoint_takes_no_whole_ones_place_either_where_training_has_passed_it(tmp_path: Path) -> None:
    for step in (1, 9):
        write(Folder(tmp_path), at(step))
    write(Folder(tmp_path), at(12), damaged=[damage(tmp_path, 9)])
    assert steps_in(Folder(tmp_path)) == [1, 12]


def test_a_whole_checkpoint_of_the_same_step_as_a_damaged_one_stays(tmp_path: Path) -> None:
    """It is of an attempt that has taken the place of the one that writes here."""
    write(Folder(tmp_path), at(9))
    damaged = damage(tmp_path, 9)
    write(Folder(tmp_path), at(9, best=False))
    write(Folder(tmp_path), at(5), damaged=[damaged])
    assert steps_in(Folder(tmp_path)) == [5, 9]


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder is wanted")
    with pytest.raises(StorageAway, match="Not a directory"):
        found_in(tmp_path / "checkpoints")


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    write(Folder(tmp_path), at(1))
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()  # root may read every file; nobody reads a folder as one
    with pytest.raises(StorageAway, match="Is a directory"):
        found_in(tmp_path)


def unreadable(folder: Path, step: int) -> str:
    """Has the file of a checkpoint answer with an error; returns its name. Root may read every file, but no folder."""
    (path,) = folder.glob(f"step-{step:012d}-*")
    path.unlink()
    path.mkdir()
    return path.name


def test_where_the_newest_cannot_be_read_the_one_before_is_used_by_whoever_waits_no_longer(tmp_path: Path) -> None:
    for step in (1, 2):
        write(Folder(tmp_path), at(step))
    name = unreadable(tmp_path, 2)
    with pytest.raises(StorageAway, match="Is a directory"):
        found_in(tmp_path)
    found, damaged, unread = newest_readable(Folder(tmp_path))
    assert same(found, at(1))
    assert (damaged, unread) == ([], [name])


def test_where_all_that_can_be_read_is_damaged_it_is_not_taken_for_none(tmp_path: Path) -> None:
    for step in (1, 2):
        write(Folder(tmp_path), at(step))
    damage(tmp_path, 1)
    unreadable(tmp_path, 2)
    with pytest.raises(StorageAway, match="Is a directory"):
        newest_readable(Folder(tmp_path))


def test_what_another_attempt_wrote_meanwhile_is_not_removed_by_one_that_was_given_up(tmp_path: Path) -> None:
    for step in (80, 120, 140):
        write(Folder(tmp_path), at(step))
    write(Folder(tmp_path), at(100))
    assert steps_in(Folder(tmp_path))[-2:] == [120, 140]


def test_what_is_superseded_is_all_but_the_one_written_and_the_one_before() -> None:
    names = [f"step-{step:012d}-{'0' * 64}.safetensors" for step in (3, 1, 2, 7)]
    assert superseded([*names, "notes.txt"], names[0]) == [names[1]]
    assert superseded([*names, "notes.txt"], names[0], damaged=[names[3]]) == [names[1], names[3]]


def test_a_truncated_or_partial_file_is_never_taken_for_a_checkpoint(tmp_path: Path) -> None:
    write(Folder(tmp_path), at(2))
    (whole,) = tmp_path.iterdir()
    os.truncate(whole, 20)
    (tmp_path / f".{whole.name}.partial").write_bytes(b"half")
    assert found_in(tmp_path) == (None, [whole.name])


def test_what_a_killed_attempt_left_half_written_is_removed_by_the_next_write(tmp_path: Path) -> None:
    (tmp_path / ".step-000000000001-0.safetensors.partial").write_bytes(b"half")
    write(Folder(tmp_path), at(2))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    write_atomically(target, [b"be", memoryview(b"fore")])
    with pytest.raises(OSError):
        write_atomically(target, [b"after"], FullDisk())
    assert target.read_bytes() == b"before"


def test_a_cleared_folder_is_gone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "checkpoints")
    write(folder, at(1))
    for _ in range(2):
        folder.clear()
        assert not (tmp_path / "checkpoints").exists()
