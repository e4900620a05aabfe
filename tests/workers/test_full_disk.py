"""A disk that is really full: a small file system in memory, where mounting one is allowed."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.training import digest_of, ended, job_of, run
from workers.checkpoint import newest
from workers.disk import Disk
from workers.storage import Folder
from workers.transport import LocalTransport

SIZE = "4m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily, as the job's matrices may still be mapped.
        subprocess.run(["umount", "--lazy", folder], timeout=30, check=True)


def test_a_twentieth_of_a_small_file_system_is_reserved(small_disk: Path) -> None:
    before = Disk().room(small_disk)
    assert before == (4 << 20) - (4 << 20) // 20
    (small_disk / "file").write_bytes(bytes(1 << 20))
    assert Disk().room(small_disk) == before - (1 << 20)


class FillsTheDisk(LocalTransport):
    """Trains, but takes all room that is left before the first step."""

    def __init__(self, filler: Path) -> None:
        super().__init__(1)
        self._filler = filler

    def steps(self, first: int, count: int) -> list[float]:
        if not self._filler.exists():
            with self._filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(512))
        return super().steps(first, count)


def test_a_job_on_a_full_disk_shows_nothing_truncated_and_ends_once_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    filler = small_disk / "filler"
    first = run(job_of(small_disk / "job", checkpoint={"every_s": 1e-6}), FillsTheDisk(filler))
    assert ended(first)["outcome"] == "paused"
    assert ended(first)["reason"].startswith("it is trained, but its model cannot be written: No space left on device")
    assert [report.data["reason"] for report in first if report.type == "trouble"] != []
    assert newest(Folder(small_disk / "job" / "checkpoints")) == (None, [])
    assert not list(small_disk.glob("**/*.safetensors*"))
    filler.unlink()
    assert digest_of(run(job_of(small_disk / "job", attempt=2))) == undisturbed
