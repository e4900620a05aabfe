"""The data folder: what is left of a job when it has ended, and of one that is removed."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
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

Open = Callable[..., DataFolder]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the same folder again and again, for services that may share it, or with another place for checkpoints."""
    folders: list[DataFolder] = []

    def make(checkpoints: str | None = None, *, shared: bool = True) -> DataFolder:
        folders.append(DataFolder(tmp_path, checkpoints, shared=shared))
        folders[-1].open()
        return folders[-1]

    yield make
    for folder in folders:
        folder.close()


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


def test_what_is_gone_though_a_bucket_was_away_leaves_nothing_there_once_it_is_settled(opened: Open) -> None:
    folder = opened(f"{URL}/")
    with bucket_server() as server:
        server.go_away()
        with folder.in_doubt("job_1"):
            folder.remove_job("job_1")
        folder.end_job("job_2", JobState.SUCCEEDED)
        assert sorted(folder.doubts()) == ["job_1", "job_2.began"]
    states = {"job_2": "succeeded", "job_3": "running"}
    with bucket_server() as server:
        for job_id in ("job_1", "job_2", "job_3"):
            write(Bucket(f"{URL}/{job_id}"), at(1))
        folder.add_job("job_3")
        for name in folder.doubts():
            folder.settle(name, states.get)
        assert [key.split("/")[1] for key in server.objects()] == ["job_3"]
        assert folder.doubts() == ["job_3.began"]


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_being_listed_or_removed_by_a_killed_service_is_known_to_all_others(
    opened: Open, shared: bool
) -> None:
    killed = opened(shared=shared)
    with killed.in_doubt("ds_1"):
        pass
    with pytest.raises(NotFound), killed.in_doubt("job_1"):
        raise NotFound("no such job")
    with pytest.raises(SystemExit), killed.in_doubt("job_2"):
        raise SystemExit
    if not shared:
        killed.close()
    other = opened(shared=shared)
    assert other.doubts() == ["job_2"]
    other.settle("job_2", lambda _: None)
    assert other.doubts() == []


def test_who_removes_again_what_is_gone_already_leaves_the_mark_of_who_removed_it(opened: Open) -> None:
    folder = opened()
    with pytest.raises(RuntimeError), folder.in_doubt("job_1"):
        raise RuntimeError  # as the answer to the commit did not come
    with pytest.raises(NotFound), folder.in_doubt("job_1"):
        raise NotFound("it is gone")
    assert folder.doubts() == ["job_1"]


def test_nobody_settles_what_somebody_is_at(opened: Open) -> None:
    folder, other = opened(), opened()
    files = folder.datasets / "ds_1"
    with folder.in_doubt("ds_1"):
        files.mkdir()
        other.settle("ds_1", lambda _: None)
        assert (files.exists(), other.doubts()) == (True, ["ds_1"])
    other.settle("ds_1", lambda _: None)
    assert (files.exists(), other.doubts()) == (True, [])


def test_a_job_that_began_and_that_the_database_does_not_know_is_left_alone(opened: Open) -> None:
    folder = opened()
    (folder.add_job("job_1") / "checkpoints").mkdir()
    folder.settle("job_1.began", lambda _: None)  # it may be a database of yesterday
    assert (folder.job("job_1") / "checkpoints").exists()
    with folder.in_doubt("job_1"):
        folder.remove_job("job_1")
    assert folder.doubts() == []


@pytest.mark.parametrize("name", ["ds_1", "job_1"])
@pytest.mark.parametrize("state", [None, "running"])
def test_the_files_of_what_is_in_doubt_stay_only_where_it_is_listed(opened: Open, name: str, state: str | None) -> None:
    folder = opened()
    files = (folder.datasets if name == "ds_1" else folder.jobs) / name
    (files / "checkpoints").mkdir(parents=True)
    with suppress(RuntimeError), folder.in_doubt(name):
        raise RuntimeError
    folder.settle(name, lambda _: state)
    assert (files / "checkpoints").exists() == (state is not None)


LEFT = {
    JobState.SUCCEEDED: ["model.safetensors"],
    JobState.CANCELLED: [],
    JobState.FAILED: ["checkpoints", "step.safetensors"],
}


@pytest.mark.parametrize("state", LEFT)
def test_of_a_job_that_ended_as_its_service_was_killed_only_what_ended_jobs_keep_stays(
    opened: Open, state: JobState
) -> None:
    folder = opened()
    files = folder.add_job("job_1")
    (files / "prepared").mkdir()
    (files / "checkpoints").mkdir()
    names = "model.safetensors", ".model.safetensors.0123abcd.partial", "checkpoints/.step.partial"
    for name in (*names, "checkpoints/step.safetensors"):
        (files / name).touch()
    folder.settle("job_1.began", lambda _: "paused")
    assert folder.doubts() == ["job_1.began"]
    folder.settle("job_1.began", lambda _: state)
    assert folder.doubts() == []
    assert sorted(path.name for path in files.rglob("*")) == LEFT[state]


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
