"""After a power cut at any moment, what was promised is there, bit by bit, and nothing that is half written."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from service.data_folder import DataFolder
from service.datasets import ReadOptions, ingest
from support.checkpoints import at, same, write
from support.power_cut import RecordingDisk, RecordingPieces, cuts, lay_out
from support.training import digest_of, job_of, run
from workers.checkpoint import newest
from workers.disk import write_atomically
from workers.storage import Folder

STEPS = (1, 2, 3, 4)
CARELESS = ["flush", "flush_folder"]
writers = pytest.mark.parametrize("kind", [RecordingDisk, RecordingPieces])
"""The coordinator's, and that of the process that writes beside the steps."""


# ---------------------------------------------------------------- checkpoints
def record_of_checkpoints(root: Path, kind: type[RecordingDisk], forgets: str = "") -> RecordingDisk:
    disk = kind(root, forgets)
    storage = Folder(root / "job" / "checkpoints", disk)
    for step in STEPS:
        write(storage, at(step))
        disk.mark(step)
    return disk


def lost_checkpoints(disk: RecordingDisk) -> Iterator[str]:
    """What is wrong after one of the cuts."""
    for promised, files in cuts(disk.record):
        with TemporaryDirectory() as folder:
            found, _ = newest(Folder(lay_out(files, Path(folder)) / "job" / "checkpoints"))
        last = max(promised, default=0)
        if found is None:
            if last:
                yield f"step {last} was promised, nothing found"
        elif found.step not in (last, last + 1) or not same(found, at(found.step)):
            yield f"step {last} was promised, {found.step} found"


@writers
def test_a_power_cut_leaves_the_last_checkpoint_or_the_one_being_written(
    tmp_path: Path, kind: type[RecordingDisk]
) -> None:
    disk = record_of_checkpoints(tmp_path, kind)
    flushed = [path for what, path, *_ in disk.record if what == "flush"]
    assert (len(flushed) > len(set(flushed))) == (kind is RecordingPieces), "some are flushed in pieces"
    assert list(lost_checkpoints(disk)) == []


@writers
@pytest.mark.parametrize("forgets", CARELESS)
def test_a_writer_that_forgets_to_flush_is_caught(tmp_path: Path, kind: type[RecordingDisk], forgets: str) -> None:
    assert next(lost_checkpoints(record_of_checkpoints(tmp_path, kind, forgets)), None) is not None


# ---------------------------------------------------------------- files that take the place of others
@pytest.mark.parametrize("forgets", ["", *CARELESS])
def test_a_power_cut_leaves_the_old_content_or_the_new_one(tmp_path: Path, forgets: str) -> None:
    disk, versions = RecordingDisk(tmp_path, forgets), [None, b"o" * 500, b"n" * 900]
    for number in (1, 2):
        write_atomically(tmp_path / "model.safetensors", [versions[number] or b""], disk)
        disk.mark(number)
    wrong = [
        files
        for promised, files in cuts(disk.record)
        if files.get("model.safetensors") not in versions[len(promised) : len(promised) + 2]
    ]
    assert bool(wrong) == bool(forgets), "careless disks are caught, ours is not careless"


# ---------------------------------------------------------------- a whole job
def test_a_power_cut_never_shows_half_a_model_nor_loses_one_that_was_told(tmp_path: Path) -> None:
    disk = RecordingDisk(tmp_path)
    folder = DataFolder(tmp_path, disk=disk).add_job("job_test")
    job = job_of(folder, epochs=1)
    digest = digest_of(run(job, disk=disk))
    disk.mark("succeeded")
    model = (folder / "model.safetensors").read_bytes()
    for promised, files in cuts(disk.record):
        assert files.get("jobs/job_test/model.safetensors") in ({model} if promised else {None, model})
        with TemporaryDirectory() as after:
            found, _ = newest(Folder(lay_out(files, Path(after)) / "jobs" / "job_test" / "checkpoints"))
        assert found is None or found.step == job.plan.steps
    assert digest.encode() in model


# ---------------------------------------------------------------- data sets
def test_a_power_cut_never_shows_half_a_data_set_nor_loses_one_that_was_listed(tmp_path: Path) -> None:
    source = tmp_path / "upload.csv"
    source.write_text("a,b\n1,x\n2,y\n")
    disk = RecordingDisk(tmp_path)
    folder = DataFolder(tmp_path / "data", disk=disk)
    folder.open()
    made = folder.uploads / "table"
    made.mkdir()
    ingest(source, "text/csv", ReadOptions(), made, "ds_1", "0" * 64, disk)
    folder.add_dataset(made, "ds_1")
    disk.mark("listed")
    table = (folder.datasets / "ds_1" / "table.arrow").read_bytes()
    folder.close()
    for promised, files in cuts(disk.record):
        assert files.get("data/datasets/ds_1/table.arrow") in ({table} if promised else {None, table})


@pytest.mark.parametrize("name", ["ds_1", "job_1"])
@pytest.mark.parametrize("forgets", ["", "flush_folder"])
def test_a_power_cut_leaves_no_files_of_what_is_not_listed_without_a_mark(
    tmp_path: Path, name: str, forgets: str
) -> None:
    disk = RecordingDisk(tmp_path, forgets)
    folder = DataFolder(tmp_path / "data", disk=disk)
    folder.open()
    is_dataset = name == "ds_1"
    if is_dataset:
        write_atomically(folder.uploads / "made" / "table.arrow", [b"rows"], disk)
        with folder.in_doubt(name):
            folder.add_dataset(folder.uploads / "made", name)
            disk.mark("listed")  # where the row is committed
    else:
        disk.mark("listed")
        write_atomically(folder.add_job(name) / "model.safetensors", [b"weights"], disk)
    with folder.in_doubt(name):
        disk.mark("deleted")
        if is_dataset:
            folder.remove_dataset(name)
        else:
            folder.remove_job(name)
    folder.close()
    assert folder.doubts() == []
    wrong = [
        files
        for promised, files in cuts(disk.record)
        if promised[-1:] != ["listed"] and any(f"/{name}/" in path for path in files)
        if f"data/in_doubt/{name}" not in files
    ]
    assert bool(wrong) == bool(forgets), "careless disks are caught, ours is not careless"
