"""The folder that holds everything a service keeps, and the lock that keeps out those who must not share it."""

import fcntl
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ulid import ULID

from service.jobs import JobState
from shared.errors import ChainruleError, Unavailable
from workers.checkpoint_files import kept
from workers.disk import DISK, Disk, remove_prepared
from workers.fence import Fence
from workers.storage import Storage, storage_at

__all__ = ["DataFolder"]


STARTS_WITHIN_S = 2.0  # for another service that shares the folder to let others in

log = logging.getLogger("chainrule")


class DataFolder:
    """`datasets/<id>/table.arrow`, `jobs/<id>/…` as the engine leaves it, `uploads/` for what is not whole yet,
    `in_doubt/` for marks of what is just being listed or removed, `id`, `admin.key`, and `webhooks.key`.

    With `checkpoints`, a URL, the jobs' checkpoints are kept there, each job's below its id. A `shared` folder is one
    for several services at once, all of which say so.
    """

    def __init__(self, path: Path, checkpoints: str | None = None, disk: Disk = DISK, *, shared: bool = False) -> None:
        self._shared = shared
        self.path = path.resolve()
        self._checkpoints, self._disk = checkpoints, disk
        self.datasets = self.path / "datasets"
        self.jobs = self.path / "jobs"
        self.uploads = self.path / "uploads"
        self._marks = self.path / "in_doubt"
        self._lock: IO[str] | None = None
        self.left_in_doubt: Collection[str] = ()
        """Ids of data sets and jobs that those were listing or removing who were killed before this was opened."""

    def open(self) -> None:
        """Makes what is missing, locks the folder, and, where nobody else uses it, clears what a killed service left
        half done.

        Repeating is harmless. Raises Unavailable when another service has it, or nobody or everybody can write to it.
        """
        if self._lock is not None:
            return
        try:
            self._disk.make_folder(self.path)
            self._check_mode()
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise Unavailable(f"the data folder {self.path} cannot be used: {error.strerror}") from error
        alone = _locked(lock, fcntl.LOCK_EX)
        if not alone and not (self._shared and _locked_soon(lock, fcntl.LOCK_SH)):
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise Unavailable(
                f"the data folder {self.path} is in use by another service (process {owner}); "
                "stop that one, or choose another folder with --data-dir"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        if alone:
            shutil.rmtree(self.uploads, ignore_errors=True)
        for folder in (self.datasets, self.jobs, self.uploads, self._marks):
            self._disk.make_folder(folder)
        if alone:
            self.left_in_doubt = [mark.name for mark in self._marks.iterdir()]
        if alone and self._shared:
            fcntl.flock(lock, fcntl.LOCK_SH)

    def _check_mode(self) -> None:
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & stat.S_IWOTH:  # whoever may write to a folder may put files of theirs in the place of any in it
            raise Unavailable(
                f"every user of this machine may write to the data folder {self.path}, and replace its keys and its "
                f"database: got mode {mode:04o}, expected one that lets others write nothing, such as 0700; "
                f"run chmod o-w {self.path}"
            )

    def close(self) -> None:
        """Lets go of the lock. Repeating is harmless."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_admin_key(self, key: str) -> None:
        """Keeps a key where only the service's own user can read it. Raises OSError."""
        partial = self.path / ".admin.key.partial"
        self._disk.remove(partial)
        partial.touch(mode=0o600)
        self._disk.write(partial, [f"{key}\n".encode()])
        self._disk.publish(partial, self.path / "admin.key")

    def webhook_key(self) -> bytes:
        """What the secrets of all webhooks follow from: 32 random bytes, made when they are first needed, which only
        the service's own user can read. Raises Unavailable where they cannot be written or read."""
        try:
            return self._made_once("webhooks.key", secrets.token_bytes(32))
        except OSError as error:
            raise Unavailable(f"the secrets of webhooks cannot be made: {error.strerror}") from error

    def id(self) -> str:
        """What tells this folder from all others, wherever it is moved. Raises OSError."""
        return self._made_once("id", f"folder_{ULID()}".encode()).decode()

    def _made_once(self, name: str, content: bytes) -> bytes:
        """What is in a small file of the folder, which is made of `content` if it is not there yet."""
        path = self.path / name
        if not path.exists():
            with (self.path / "making").open("a") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                if not path.exists():  # nor made meanwhile, by another service that shares the folder
                    self._make(path, content)
        return path.read_bytes()

    def _make(self, path: Path, content: bytes) -> None:
        partial = self.path / f".{path.name}.{ULID()}"
        partial.touch(mode=0o600)
        try:
            self._disk.write(partial, [content])
            self._disk.flush(partial)
            self._disk.rename(partial, path)
        finally:
            self._disk.remove(partial)
        self._disk.flush_folder(self.path)

    @contextmanager
    def in_doubt(self, name: str) -> Iterator[None]:
        """Marks a data set or a job while there may be its files and no row of it: whoever is killed meanwhile leaves
        the mark. Files without a row and without a mark are left alone, for the database may be another one, or of
        yesterday."""
        mark = self._marks / name
        with suppress(OSError):  # a full disk keeps nobody from removing
            mark.touch(mode=0o600)
        try:
            yield
        except ChainruleError:  # nothing was changed
            self._disk.remove(mark)
            raise
        self._disk.remove(mark)

    def settle(self, name: str, *, is_listed: bool) -> None:
        """Removes the files of what was left in doubt, unless it has a row."""
        if not is_listed and name.startswith("ds_"):
            self.remove_dataset(name)
        elif not is_listed and name.startswith("job_"):
            self.remove_job(name)
        self._disk.remove(self._marks / name)

    def add_dataset(self, made: Path, dataset_id: str) -> None:
        """Moves the files of a data set, which are on disk, into place, for good."""
        self._disk.rename(made, self.datasets / dataset_id)
        self._disk.flush_folder(self.datasets)

    def job(self, job_id: str) -> Path:
        """The folder of a job, whose id must be one that we made."""
        return self.jobs / job_id

    def add_job(self, job_id: str) -> Path:
        """Makes the folder of a job, for good; it may be there already."""
        self._disk.make_folder(self.job(job_id))
        return self.job(job_id)

    def model(self, job_id: str) -> Path:
        """The model file of a job that has succeeded."""
        return self.jobs / job_id / "model.safetensors"

    def checkpoints_url(self, job_id: str) -> str | None:
        """Where a job's checkpoints are kept; None for its folder."""
        return None if self._checkpoints is None else f"{self._checkpoints.rstrip('/')}/{job_id}"

    def checkpoints(self, job_id: str) -> list[tuple[int, str]]:
        """Step and SHA-256 of each checkpoint of a job, the newest first. Raises OSError."""
        return kept(self._storage(job_id))

    def refuse(self, job_id: str, epoch: int) -> None:
        """Has attempts that began at that epoch of the job, or before, work no more, wherever they may still run.
        Raises OSError."""
        Fence(self.job(job_id), epoch).close()

    def end_job(self, job_id: str, state: JobState) -> None:
        """Removes what only training needed of a job that has ended: its prepared data, and its checkpoints unless it
        failed. Repeating is harmless."""
        remove_prepared(self.job(job_id) / "prepared")
        if state is not JobState.FAILED:
            self._clear_checkpoints(job_id)

    def remove_job(self, job_id: str) -> None:
        """Removes all files of a job; there may be none."""
        self._clear_checkpoints(job_id)
        shutil.rmtree(self.job(job_id), ignore_errors=True)

    def _clear_checkpoints(self, job_id: str) -> None:
        try:
            self._storage(job_id).clear()
        except OSError as error:  # of no use any more, but harmless
            log.warning("checkpoints of %s could not be removed: %s", job_id, error)

    def _storage(self, job_id: str) -> Storage:
        return storage_at(self.checkpoints_url(job_id), self.job(job_id) / "checkpoints")

    def remove_dataset(self, dataset_id: str) -> None:
        """Removes all files of a data set."""
        shutil.rmtree(self.datasets / dataset_id, ignore_errors=True)


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _locked_soon(file: IO[str], kind: int) -> bool:
    """As `_locked`, but waits a moment: whoever starts alone has the folder for itself until it has tidied up."""
    until = time.monotonic() + STARTS_WITHIN_S
    while not _locked(file, kind):
        if time.monotonic() > until:
            return False
        time.sleep(STARTS_WITHIN_S / 100)
    return True
