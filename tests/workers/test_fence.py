"""An attempt that was given up for dead, and is not, takes nothing away from its successor."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.spec import JobSpec
from support.training import digest_of, job_of, run
from workers.coordinator import Coordinator
from workers.data import MARKER, PreparedData, prepare
from workers.disk import Disk, FencedDisk
from workers.fence import Fence
from workers.job import Superseded, TrainingJob
from workers.order import LongOrders
from workers.storage import Folder
from workers.transport import LocalTransport


def test_an_attempt_is_refused_once_a_later_one_has_begun(tmp_path: Path) -> None:
    first, second = Fence(tmp_path, 1), Fence(tmp_path, 2)
    first.take()
    first.check()
    second.take()
    second.check()
    for refused in (first.check, first.take):
        with pytest.raises(Superseded):
            refused()
    second.check()


class Stalls(Disk):
    """Hangs at one of its calls, before or after it is done, until what happens `meanwhile` has happened."""

    def __init__(self, at: str, meanwhile: Callable[[], None]) -> None:
        self._at, self._meanwhile = at, [meanwhile]

    def make(self, path: Path) -> None:
        self._stall("before make")
        super().make(path)
        self._stall("after make")

    def flush_folder(self, path: Path) -> None:
        super().flush_folder(path)
        self._stall("after flush_folder")

    def remove(self, path: Path) -> None:
        self._stall("before remove")
        super().remove(path)

    def _stall(self, at: str) -> None:
        if at == self._at and self._meanwhile:
            self._meanwhile.pop()()


@pytest.mark.parametrize("at", ["before make", "after make", "after flush_folder", "before remove"])
def test_an_attempt_that_stalls_while_it_begins_never_takes_the_place_of_a_later_one(tmp_path: Path, at: str) -> None:
    Fence(tmp_path, 1).take()
    successor = Fence(tmp_path, 3)
    stalled = Fence(tmp_path, 2, Stalls(at, successor.take))
    with pytest.raises(Superseded):
        stalled.take()
        stalled.check()
    successor.check()
    assert [path.name for path in tmp_path.iterdir()] == [successor.mark.name]


def test_who_stalls_while_it_gives_an_attempt_up_leaves_its_successor_alone(tmp_path: Path) -> None:
    given_up, successor = Fence(tmp_path, 1), Fence(tmp_path, 2)
    given_up.take()
    Fence(tmp_path, 1, Stalls("before remove", successor.take)).close()
    successor.check()
    with pytest.raises(Superseded):
        given_up.check()


def test_an_attempt_is_refused_once_it_was_given_up_but_not_by_whoever_had_the_job_before_it(tmp_path: Path) -> None:
    fence = Fence(tmp_path, 2)
    fence.take()
    Fence(tmp_path, 1).close()
    fence.check()
    for _ in range(2):
        Fence(tmp_path, 3).close()  # who had the job after it; repeating is harmless
    with pytest.raises(Superseded):
        fence.check()


def test_an_attempt_whose_job_was_deleted_makes_no_new_folder_for_it(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")

    class Deleted(LocalTransport):
        def steps(self, first: int, count: int) -> list[float]:
            shutil.rmtree(job.folder, ignore_errors=True)
            return super().steps(first, count)

    with pytest.raises(Superseded):
        Coordinator(job, Deleted(1)).run()
    assert not Path(job.folder).exists()


def test_an_attempt_that_begins_when_its_job_was_deleted_makes_no_new_folder_for_it(tmp_path: Path) -> None:
    with pytest.raises(Superseded, match="deleted"):
        Fence(tmp_path / "job", 1).take()
    assert not (tmp_path / "job").exists()


def test_who_begins_late_or_goes_on_though_given_up_leaves_the_successors_files_and_bits_alone(tmp_path: Path) -> None:
    alone = digest_of(run(job_of(tmp_path / "alone")))
    late = Coordinator(job_of(tmp_path / "job", attempt=1), LocalTransport(1))
    assert digest_of(run(job_of(tmp_path / "job", attempt=2))) == alone
    before = contents(tmp_path / "job")
    with pytest.raises(Superseded):
        late.run()
    assert contents(tmp_path / "job") == before


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Of each file, and when it was written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


class Meanwhile(LocalTransport):
    """Before its third step, the next attempt at the job runs from its beginning to its end."""

    def __init__(self, successor: TrainingJob) -> None:
        super().__init__(1)
        self._successor = successor
        self.digest = ""
        self.left: dict[Path, tuple[bytes, int]] = {}

    def steps(self, first: int, count: int) -> list[float]:
        if first >= 2 and not self.digest:
            self.digest = digest_of(run(self._successor))
            self.left = contents(Path(self._successor.folder))
        return super().steps(first, count)


def test_an_attempt_that_was_given_up_amid_its_steps_writes_neither_checkpoint_nor_model(tmp_path: Path) -> None:
    alone = digest_of(run(job_of(tmp_path / "alone")))
    transport = Meanwhile(job_of(tmp_path / "job", attempt=2))
    given_up = Coordinator(job_of(tmp_path / "job", attempt=1), transport)
    with pytest.raises(Superseded):
        given_up.run()
    assert transport.digest == alone
    assert contents(tmp_path / "job") == transport.left
    assert tmp_path / "job" / "model.safetensors" in transport.left


class SlowFlush(Disk):
    """A file whose name has `part` in it takes so long to reach the disk that `meanwhile` happens, once."""

    def __init__(self, part: str, meanwhile: Callable[[], object]) -> None:
        self._part, self._meanwhile = part, [meanwhile]

    def flush(self, path: Path) -> None:
        super().flush(path)
        if self._part in path.name and self._meanwhile:
            self._meanwhile.pop()()


def test_a_model_that_was_long_on_its_way_to_the_disk_takes_no_place_of_the_successors(tmp_path: Path) -> None:
    left: dict[Path, tuple[bytes, int]] = {}

    def succeed() -> None:
        run(job_of(tmp_path / "job", attempt=2))
        left.update({path: found for path, found in contents(tmp_path / "job").items() if "partial" not in path.name})

    with pytest.raises(Superseded):
        run(job_of(tmp_path / "job", attempt=1), disk=SlowFlush("model", succeed))
    assert contents(tmp_path / "job") == left
    assert tmp_path / "job" / "model.safetensors" in left


def test_a_checkpoint_that_was_long_on_its_way_to_the_disk_does_not_appear_once_its_attempt_was_given_up(
    tmp_path: Path,
) -> None:
    with pytest.raises(Superseded):
        run(job_of(tmp_path / "job"), disk=SlowFlush("step-", Fence(tmp_path / "job", 1).close))
    assert list((tmp_path / "job" / "checkpoints").iterdir()) == []


def test_a_given_up_attempt_removes_no_checkpoint_that_its_successor_is_writing(tmp_path: Path) -> None:
    fence = Fence(tmp_path, 1)
    fence.take()
    half = tmp_path / "checkpoints" / ".step-000000000002.partial"
    Fence(tmp_path, 2).take()
    half.parent.mkdir()
    half.touch()
    with pytest.raises(FileNotFoundError, match="given up"):
        Folder(tmp_path / "checkpoints", FencedDisk(Disk(), fence.mark)).write("late", [b"late"])
    assert half.exists()


def test_nor_one_that_its_successor_begins_to_write_right_after_it_has_looked(tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / ".step-000000000002.partial"

    class Looked(Disk):
        def make_folder(self, path: Path) -> None:
            super().make_folder(path)
            half.touch()

    half.parent.mkdir()
    Folder(tmp_path / "checkpoints", Looked()).write("late", [b"late"])
    assert half.exists()


def test_a_model_makes_no_new_folder_for_a_job_that_was_deleted_while_its_last_checkpoint_was_written(
    tmp_path: Path,
) -> None:
    job = job_of(tmp_path / "job")
    with pytest.raises(Superseded):
        run(job, disk=SlowFlush("step-", lambda: shutil.rmtree(job.folder)))
    assert not Path(job.folder).exists()


def test_two_who_prepare_at_once_do_not_meet(tmp_path: Path) -> None:
    job, folder = job_of(tmp_path / "job"), tmp_path / "job" / "prepared"
    looked, waits = threading.Event(), threading.Event()
    Fence(tmp_path / "job", 1).take()
    refused: list[Superseded] = []

    def look_up() -> None:
        looked.set()
        waits.wait(30)
        Fence(tmp_path / "job", 1).check()

    def prepare_slowly() -> None:
        try:
            prepare(job.plan, job.training, None, folder, look_up)
        except Superseded as error:
            refused.append(error)

    slow = threading.Thread(target=prepare_slowly)
    slow.start()
    assert looked.wait(30)
    Fence(tmp_path / "job", 2).take()
    whole = prepare(job.plan, job.training, None, folder)
    before = contents(folder)
    waits.set()
    slow.join(30)
    assert len(refused) == 1
    assert contents(folder) == before and (folder / MARKER) in before
    assert PreparedData.load(folder) == whole


def test_who_is_given_up_while_it_removes_what_was_prepared_takes_nothing_from_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, folder = job_of(tmp_path / "job"), tmp_path / "job" / "prepared"
    prepare(job.plan, job.training, None, folder)
    (folder / MARKER).unlink()
    Fence(tmp_path / "job", 1).take()
    removes = shutil.rmtree

    def stalls(path: Path, ignore_errors: bool = False) -> None:
        monkeypatch.setattr(shutil, "rmtree", removes)
        Fence(tmp_path / "job", 2).take()
        prepare(job.plan, job.training, None, folder)
        removes(path, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", stalls)
    with pytest.raises(Superseded):
        prepare(job.plan, job.training, None, folder, Fence(tmp_path / "job", 1).check)
    PreparedData.load(folder).open_training(np.dtype("float32"))


def test_who_is_given_up_right_after_it_has_looked_leaves_alone_what_its_successor_has_begun_to_prepare(
    tmp_path: Path,
) -> None:
    job, begun = job_of(tmp_path / "job"), tmp_path / "job" / "prepared.successors"
    fence = Fence(tmp_path / "job", 1)
    fence.take()

    def look_up() -> None:
        fence.check()
        Fence(tmp_path / "job", 2).take()
        begun.mkdir()

    with pytest.raises(Superseded):
        prepare(job.plan, job.training, None, tmp_path / "job" / "prepared", look_up)
    assert begun.is_dir()


def test_who_prepares_makes_no_new_folder_for_a_job_that_was_deleted_meanwhile(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")
    fence, looks = Fence(tmp_path / "job", 1), iter([lambda: shutil.rmtree(job.folder)])
    fence.take()

    def look_up() -> None:
        fence.check()
        next(looks, lambda: None)()

    with pytest.raises(Superseded):
        prepare(job.plan, job.training, None, tmp_path / "job" / "prepared", look_up)
    assert not Path(job.folder).exists()


def test_a_given_up_attempt_removes_no_order_that_its_successor_reads(tmp_path: Path) -> None:
    spec = JobSpec.model_validate({"dataset": "d", "target": "y"})
    Fence(tmp_path, 1).take()
    given_up = LongOrders(spec, 1000, 3, tmp_path, 999, Fence(tmp_path, 1).check)
    given_up.await_epoch(0)
    Fence(tmp_path, 2).take()
    successor = LongOrders(spec, 1000, 3, tmp_path, 999, Fence(tmp_path, 2).check)
    successor.await_epoch(0)
    with pytest.raises(Superseded):
        given_up.await_epoch(2)
    assert (tmp_path / "order-0.npy").is_file()
    for orders in (given_up, successor):
        orders.close()


def test_an_order_that_was_long_on_its_way_to_the_disk_does_not_appear_once_its_attempt_was_given_up(
    tmp_path: Path,
) -> None:
    fence = Fence(tmp_path, 1)
    fence.take()

    def check() -> None:
        fence.check()
        fence.close()

    orders = LongOrders(JobSpec.model_validate({"dataset": "d", "target": "y"}), 1000, 3, tmp_path, 999, check)
    with pytest.raises(Superseded):
        orders.await_epoch(0)
    orders.close()
    assert list(tmp_path.iterdir()) == []
