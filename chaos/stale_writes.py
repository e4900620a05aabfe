"""What an attempt that was given up still makes in its job's folder; each node's files are of a group of its own."""

import time
from contextlib import suppress
from pathlib import Path

__all__ = ["StaleWrites"]

MARKS = "attempt.*"  # of the attempts that may work (`workers/fence.py`)
COUNTS = ("*.safetensors", "checkpoints/*.safetensors")


class StaleWrites:
    """Looks at jobs' folders. Once the mark of an attempt is gone, its node must make no file there any more that
    counts, until one that begins there makes its own."""

    def __init__(self, jobs: Path) -> None:
        self.found: list[str] = []
        self._jobs = jobs
        self._marked: dict[Path, set[int]] = {}
        self._gone_ns: dict[tuple[Path, int], int] = {}  # since when a group has no mark there, at the latest
        self._told: set[Path] = set()

    def look(self) -> None:
        for folder in self._jobs.iterdir():
            self._look_into(folder)

    def _look_into(self, folder: Path) -> None:
        marked, before = _groups(folder), self._marked.get(folder, set())
        now_ns = time.time_ns()
        self._gone_ns |= {(folder, group): now_ns for group in before - marked}
        for group in marked:
            self._gone_ns.pop((folder, group), None)
        self._marked[folder] = marked
        for path, group, made_ns in _made(folder, COUNTS):
            gone_ns = self._gone_ns.get((folder, group))
            if gone_ns is None or made_ns <= gone_ns or path in self._told or group in _groups(folder):
                continue
            self._told.add(path)
            late_s = (made_ns - gone_ns) / 1e9
            self.found.append(f"{path.relative_to(self._jobs)} was made {late_s:.2f} s after its attempt was given up")


def _groups(folder: Path) -> set[int]:
    """Those of the marks that are there."""
    return {group for _, group, _ in _made(folder, (MARKS,))}


def _made(folder: Path, patterns: tuple[str, ...]) -> list[tuple[Path, int, int]]:
    """Of each such file its path, its group, and when it got its name, in nanoseconds since 1970."""
    made = []
    for pattern in patterns:
        with suppress(FileNotFoundError):  # the folder was removed just now
            for path in folder.glob(pattern):
                with suppress(FileNotFoundError):  # or the file
                    found = path.stat()
                    made.append((path, found.st_gid, found.st_ctime_ns))
    return made
