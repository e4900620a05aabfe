"""Checkpoints are written beside the steps; what cannot be written is told, and tried again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.checkpoints import FullDisk, SlowDisk, at, same, steps_in, write
from workers.checkpoint import newest
from workers.checkpoint_writer import CheckpointWriter
from workers.disk import Disk
from workers.storage import Folder, Storage

EVERY_S = 30.0


class Watched:
    """A writer, what it told, and the clock that it goes by."""

    def __init__(self, storage: Storage, kept: int | None = None) -> None:
        self.now_s = 0.0
        self.told: list[tuple[str, Any]] = []
        self.sizes_bytes: list[int] = []
        self.writer = CheckpointWriter(storage, kept, EVERY_S, self._tell, lambda: self.now_s)

    def _tell(self, kind: str, **data: Any) -> None:
        self.told.append((kind, data["step"] if kind == "checkpoint" else data["reason"]))
        if kind == "checkpoint":
            self.sizes_bytes.append(data["size_bytes"])

    def is_due(self, step: int = 1) -> bool:
        return self.writer.is_due(at(step).server)

    def write(self, step: int) -> OSError | None:
        self.writer.begin(at(step))
        return self.writer.finish(lambda: None)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "checkpoints")


@pytest.fixture
def watched(folder: Folder) -> Iterator[Watched]:
    found = Watched(folder)
    yield found
    found.writer.close()


def test_a_checkpoint_is_told_once_it_is_there_for_good_and_not_before(tmp_path: Path) -> None:
    disk = SlowDisk()
    folder = Folder(tmp_path, disk)
    watched = Watched(folder)
    watched.writer.begin(at(1))
    assert disk.has_begun.wait(30), "the steps go on while it is written"
    assert (watched.told, steps_in(folder)) == ([], [])
    disk.may_end.set()
    watched.writer.close()
    assert (watched.told, steps_in(folder)) == ([("checkpoint", 1)], [1])
    assert watched.sizes_bytes == [path.stat().st_size for path in tmp_path.iterdir()]


def test_what_falls_due_while_one_is_being_written_is_not_queued(tmp_path: Path) -> None:
    disk = SlowDisk()
    watched = Watched(Folder(tmp_path, disk))
    watched.writer.begin(at(1))
    watched.now_s = 100 * EVERY_S
    assert not watched.is_due()
    disk.may_end.set()
    watched.writer.finish(lambda: None)
    assert watched.is_due()
    watched.writer.close()


def test_what_is_written_is_the_state_of_the_moment_however_it_changes_meanwhile(tmp_path: Path) -> None:
    disk = SlowDisk()
    watched = Watched(Folder(tmp_path, disk))
    state = at(1)
    watched.writer.begin(state)
    for vector in (state.server.parameters, *state.server.slots.values()):
        vector += 1
    state.memory["x"] = 2
    disk.may_end.set()
    watched.writer.close()
    assert same(newest(Folder(tmp_path))[0], at(1))


def test_the_first_checkpoint_waits_for_memory_that_is_made_beside_the_steps(watched: Watched) -> None:
    watched.now_s = EVERY_S - 1
    assert not watched.is_due(), "it is not time yet"
    watched.now_s = EVERY_S
    assert not watched.is_due()
    watched.writer.finish(lambda: None)
    assert watched.is_due()
    watched.write(1)
    assert not watched.is_due(), "it was just written"
    watched.now_s = 2 * EVERY_S
    assert watched.is_due(), "the memory is there"


def test_parameters_that_are_not_finite_are_never_written(watched: Watched, folder: Folder) -> None:
    watched.write(1)
    diverged = at(2)
    diverged.server.parameters[3] = np.inf
    watched.writer.begin(diverged)
    watched.writer.finish(lambda: None)
    assert (watched.told, steps_in(folder)) == ([("checkpoint", 1)], [1])


def test_a_full_disk_is_told_once_and_tried_again_ever_later_until_there_is_room(tmp_path: Path) -> None:
    disk = FullDisk()
    watched = Watched(Folder(tmp_path, disk), kept=7)
    for wait_s in (5, 10, 20):
        assert isinstance(watched.write(8), OSError)
        before = watched.now_s
        watched.now_s = before + wait_s - 0.1
        assert not watched.is_due()
        watched.now_s = before + wait_s
        assert watched.is_due()
    why = "checkpoints cannot be written (No space left on device): that of step 7 is kept; tried again while it trains"
    assert watched.told == [("trouble", why)]
    assert list(tmp_path.iterdir()) == [], "nothing truncated is left, nor any room taken"
    disk.is_full = False
    assert watched.write(9) is None
    assert watched.told[1:] == [("checkpoint", 9)]
    disk.is_full = True
    watched.write(10)
    assert watched.told[2][1].startswith("checkpoints cannot be written (No space left on device): that of step 9 is")
    watched.writer.close()


def test_old_checkpoints_that_cannot_be_removed_do_not_undo_the_new_one(tmp_path: Path) -> None:
    class Sticky(Disk):
        def remove(self, path: Path) -> None:
            raise PermissionError("no")

    watched = Watched(Folder(tmp_path, Sticky()))
    for step in (1, 2, 3):
        assert watched.write(step) is None
    watched.writer.close()
    assert steps_in(Folder(tmp_path)) == [1, 2, 3]
    write(Folder(tmp_path), at(4))
    assert steps_in(Folder(tmp_path)) == [3, 4]


def test_a_mistake_of_ours_is_not_taken_for_a_storage_that_is_away(tmp_path: Path) -> None:
    class Broken(Folder):
        def write(self, name: str, parts: Any) -> None:
            raise TypeError("a mistake")

    watched = Watched(Broken(tmp_path))
    watched.writer.begin(at(1))
    with pytest.raises(TypeError):
        watched.writer.finish(lambda: None)
    watched.writer.close()


def test_whoever_waits_for_a_checkpoint_may_be_called_away(tmp_path: Path) -> None:
    disk = SlowDisk()
    watched = Watched(Folder(tmp_path, disk))
    watched.writer.begin(at(1))

    def called_away() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        watched.writer.finish(called_away)
    disk.may_end.set()
    watched.writer.close()
    assert steps_in(Folder(tmp_path)) == [1], "it was written all the same"


def test_one_that_could_not_be_read_is_kept_until_a_later_one_is_there_and_takes_no_whole_ones_place(
    tmp_path: Path,
) -> None:
    folder, told = Folder(tmp_path), Watched(Folder(tmp_path))
    for step in (1, 9):
        write(folder, at(step))
    (unread,) = (name for name in folder.names() if "-000000000009-" in name)
    writer = CheckpointWriter(folder, 1, EVERY_S, told._tell, lambda: 0.0, unread=[unread])
    found = []
    for step in (5, 12):
        writer.begin(at(step))
        writer.finish(lambda: None)
        found.append(steps_in(folder))
    writer.close()
    assert found == [[1, 5, 9], [5, 12]]
