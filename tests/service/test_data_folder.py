"""The data folder: what is left of a job when it has ended, and of one that is removed."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from service.data_folder import DataFolder
from service.jobs import JobState
from shared.errors import NotFound, Unavailable
from support.buckets import URL, bucket_server
from support.checkpoints import at, write
from support.races import race
from workers.bucket import Bucket
from workers.storage import Folder


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED])
def test_an_ended_job_has_no_checkpoints(tmp_path: Path, state: JobState) -> None:
    folder = DataFolder(tmp_path)
    write(Folder(folder.job("job_1") / "checkpoints"), at(1))
    for _ in range(2):
        folder.end_job("job_1", state)
    assert list(folder.job("job_1").iterdir()) == []


def test_a_failed_job_keeps_its_checkpoints_until_it_is_removed(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    write(Folder(folder.job("job_1") / "checkpoints"), at(1))
    folder.end_job("job_1", JobState.FAILED)
    assert len(list((folder.job("job_1") / "checkpoints").iterdir())) == 1
    folder.remove_job("job_1")
    assert not folder.job("job_1").exists()


def test_checkpoints_in_a_bucket_go_with_their_job_and_a_bucket_that_is_away_keeps_nobody_waiting(
    tmp_path: Path,
) -> None:
    folder = DataFolder(tmp_path, f"{URL}/")
    with bucket_server() as server:
        for job_id in ("job_1", "job_2", "job_3"):
            assert folder.checkpoints_url(job_id) == f"{URL}/{job_id}"
            write(Bucket(f"{URL}/{job_id}"), at(1))
        folder.end_job("job_1", JobState.SUCCEEDED)
        folder.end_job("job_2", JobState.FAILED)
        folder.remove_job("job_2")
        assert [key.split("/")[1] for key in server.objects()] == ["job_3"]
        server.go_away()
        folder.remove_job("job_3")


def in_doubt(path: Path, shared: bool) -> list[str]:
    """What a service that starts now has to settle."""
    folder = DataFolder(path, shared=shared)
    folder.open()
    folder.close()
    return list(folder.left_in_doubt)


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_being_listed_or_removed_by_a_killed_service_is_known_to_the_next_one_that_is_alone(
    tmp_path: Path, shared: bool
) -> None:
    killed = DataFolder(tmp_path, shared=shared)
    killed.open()
    with killed.in_doubt("ds_1"):
        pass
    with pytest.raises(NotFound), killed.in_doubt("job_1"):
        raise NotFound("no such job")
    with pytest.raises(SystemExit), killed.in_doubt("job_2"):
        raise SystemExit
    if shared:
        assert in_doubt(tmp_path, shared) == [], "another one may be at it"
    killed.close()
    assert in_doubt(tmp_path, shared) == ["job_2"]
    DataFolder(tmp_path).settle("job_2", is_listed=True)
    assert in_doubt(tmp_path, shared) == []


@pytest.mark.parametrize("name", ["ds_1", "job_1"])
@pytest.mark.parametrize("is_listed", [True, False])
def test_the_files_of_what_is_in_doubt_stay_only_where_it_is_listed(tmp_path: Path, name: str, is_listed: bool) -> None:
    folder = DataFolder(tmp_path)
    files = (folder.datasets if name == "ds_1" else folder.jobs) / name
    (files / "checkpoints").mkdir(parents=True)
    folder.settle(name, is_listed=is_listed)
    assert files.exists() == is_listed


@pytest.mark.parametrize("has_links", [True, False], ids=["with hard links", "without"])
def test_all_who_start_at_once_in_a_new_folder_take_the_same_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # as FAT and some network file systems do

    if not has_links:
        monkeypatch.setattr(os, "link", refused)
    for turn in range(20):
        folder = tmp_path / str(turn)
        folder.mkdir()
        ids = race(1, *[lambda _: DataFolder(folder).id()] * 8)[0]  # noqa: B023  (called before the next turn)
        assert set(ids) == {DataFolder(folder).id()}


def test_a_folder_that_everybody_may_write_to_is_refused_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    for mode in (0o777, 0o1777, 0o702):
        path.chmod(mode)
        with pytest.raises(Unavailable, match=f"got mode {mode:04o}, expected .* such as 0700"):
            DataFolder(path).open()
        assert list(path.iterdir()) == []
    path.chmod(0o775)  # a group's, such as that of a volume which is mounted for it
    folder = DataFolder(path)
    folder.open()
    folder.close()


def test_of_services_that_share_a_folder_and_start_at_once_the_second_waits_for_the_first(tmp_path: Path) -> None:
    second = DataFolder(tmp_path, shared=True)
    opening = threading.Thread(target=second.open)
    with (tmp_path / "lock").open("a+") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        opening.start()
        opening.join(0.1)
        assert opening.is_alive()
        fcntl.flock(first, fcntl.LOCK_SH)
        opening.join(30)
        assert not opening.is_alive()
    assert second.uploads.is_dir()
    second.close()
