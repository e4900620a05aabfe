"""Folders and leftovers of embedded Ray."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Unavailable
from workers.ray_environment import RAYS_OWN, _session_folder, end_leftovers


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        yield Path(folder)


def test_sockets_lie_in_the_data_folder_where_its_path_is_short(short_folder: Path) -> None:
    folder = _session_folder(short_folder)
    assert folder == short_folder.resolve() / "ray"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_long_path_has_its_sockets_elsewhere_always_in_the_same_place(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 60)
    folder = _session_folder(long)
    try:
        assert len(str(folder / RAYS_OWN)) <= 40
        assert _session_folder(long) == folder
        assert _session_folder(tmp_path / ("y" * 60)) != folder
    finally:
        for made in (folder, _session_folder(tmp_path / ("y" * 60))):
            made.rmdir()


def test_what_a_killed_service_left_is_gone(short_folder: Path) -> None:
    (_session_folder(short_folder) / "old").touch()
    assert list(_session_folder(short_folder).iterdir()) == []


def test_a_link_in_the_folders_place_is_refused(short_folder: Path, tmp_path: Path) -> None:
    (short_folder / "ray").symlink_to(tmp_path)
    with pytest.raises(Unavailable, match="belongs to somebody else"):
        _session_folder(short_folder)


def test_processes_that_a_killed_service_left_are_ended_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    with waiting(folder / "token") as leftover, waiting(tmp_path / "ray-of-another" / "token") as other:
        end_leftovers(folder)
        assert leftover.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0


def test_an_agent_whose_title_took_the_place_of_its_environment_is_known_by_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    (folder / "logs").mkdir(parents=True)
    log = folder / "logs" / "agent.log"
    with waiting(tmp_path / "token", log, "w") as agent, waiting(tmp_path / "token", log, "r") as reader:
        log.unlink()  # the folder of a killed service is removed before its processes are ended
        end_leftovers(folder)
        assert agent.wait(30) == -signal.SIGKILL
        assert reader.poll() is None
        reader.communicate(b"\n")
    assert reader.returncode == 0


def waiting(token: Path, log: Path | None = None, mode: str = "r") -> subprocess.Popen[bytes]:
    """A process of the cluster with that token, which has a file open and waits for a line."""
    program = f"log = open({str(log)!r}, {mode!r}); print(flush=True); input()" if log else "print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "RAY_AUTH_TOKEN_PATH": str(token)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process
