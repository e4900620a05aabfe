"""An attempt that was given up for dead, and is not, takes nothing away from its successor."""

import threading
from pathlib import Path

import pytest

from shared.spec import JobSpec
from support.training import digest_of, job_of, run
from workers.coordinator import Coordinator
from workers.data import MARKER, PreparedData, prepare
from workers.fence import Fence
from workers.job import Superseded, TrainingJob
from workers.order import LongOrders
from workers.transport import LocalTransport


def test_an_attempt_is_refused_once_a_later_one_has_begun(tmp_path: Path) -> None:
    first, second = Fence(tmp_path, 1), Fence(tmp_path, 2)
    first.take()
    first.check()
    second.take()
    second.check()
    for refused in (first.check, first.take):
        with pytest.raises(Superseded, match="attempt 2 at the job has begun"):
            refused()
    second.check()


def test_who_begins_late_or_goes_on_though_given_up_leaves_the_successors_files_and_bits_alone(tmp_path: Path) -> None:
    alone = digest_of(run(job_of(tmp_path / "alone")))
    late = Coordinator(job_of(tmp_path / "job", attempt=1), LocalTransport(1))
    assert digest_of(run(job_of(tmp_path / "job", attempt=2))) == alone
    before = contents(tmp_path / "job")
    with pytest.raises(Superseded):
        late.run()
    assert contents(tmp_path / "job") == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Meanwhile(LocalTransport):
    """Before its third step, the next attempt at the job runs from its beginning to its end."""

    def __init__(self, successor: TrainingJob) -> None:
        super().__init__(1)
        self._successor = successor
        self.digest = ""

    def steps(self, first: int, count: int) -> list[float]:
        if first >= 2 and not self.digest:
            self.digest = digest_of(run(self._successor))
        return super().steps(first, count)


def test_an_attempt_that_was_given_up_amid_its_steps_writes_neither_checkpoint_nor_model(tmp_path: Path) -> None:
    alone = digest_of(run(job_of(tmp_path / "alone")))
    transport = Meanwhile(job_of(tmp_path / "job", attempt=2))
    given_up = Coordinator(job_of(tmp_path / "job", attempt=1), transport)
    model = tmp_path / "job" / "model.safetensors"
    with pytest.raises(Superseded):
        given_up.run()
    assert transport.digest == alone
    assert model.stat().st_mtime_ns == max(path.stat().st_mtime_ns for path in (tmp_path / "job").rglob("*"))


def test_two_who_prepare_at_once_do_not_meet(tmp_path: Path) -> None:
    job, folder = job_of(tmp_path / "job"), tmp_path / "job" / "prepared"
    looked, waits = threading.Event(), threading.Event()
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


def test_a_given_up_attempt_removes_no_order_that_its_successor_reads(tmp_path: Path) -> None:
    spec = JobSpec.model_validate({"dataset": "d", "target": "y"})
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
