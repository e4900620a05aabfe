"""The folder that holds everything a service keeps, and the lock that keeps out those who must not share it."""

import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ulid import ULID

from service.doubts import Doubts
from service.jobs import JobState
from shared.errors import ChainruleError, Unavailable
from workers.checkpoint_files import kept
from workers.disk import DISK, Disk, remove_prepared
from workers.fence import Fence
from workers.storage import Storage, storage_at

__all__ = ["DataFolder"]


BEGAN = ".began"  # the mark of a job that has files which only training needs
STARTS_WITHIN_S = 2.0  # for another service that shares the folder to let others in


class DataFolder:
    """`datasets/<id>/table.arrow`, `jobs/<id>/…` as the engine leaves it, `uploads/` for what is not whole yet,
    `in_doubt/` for marks of what is just being listed or removed, and of jobs that began and have not ended (`.began`),
    `id`, `admin.key`, and `webhooks.key`.

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
        self._doubts = Doubts(self.path / "in_doubt", disk)
        self._lock: IO[str] | None = None

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
        for folder in (self.datasets, self.jobs, self.uploads, self._doubts.folder):
            self._disk.make_folder(folder)
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
        """Marks a data set or a job while there may be its files and no row of it: whoever is killed meanwhile, or
        cannot remove all, leaves the mark for `settle`, which leaves alone what we are at. Files without a row and
        without a mark are left alone, for the database may be another one, or of yesterday."""
        with self._doubts.held(name) as is_new:
            try:
                yield
            except ChainruleError:  # nothing was changed by us; by whoever left the mark, perhaps
                if is_new:
                    self._doubts.unmark(name)
                raise
            self._doubts.unmark(name)

    def doubts(self) -> list[str]:
        """What is marked, for `settle`. Raises OSError."""
        return self._doubts.names()

    def settle(self, mark: str, state_of: Callable[[str], str | None]) -> None:
        """Has the files of what is marked be as the database says: those of what was being listed or removed are none
        without a row, unless somebody is at it now, and those of a job that has ended only what `end_job` leaves.

        `state_of` tells the state of a job, anything of a data set, and None of what is not listed.
        """
        name = mark.removesuffix(BEGAN)
        if name != mark:
            state = state_of(name)
            if state is not None and JobState(state).is_terminal:
                self.end_job(name, JobState(state))
            return
        with self._doubts.settling(name) as is_ours:
            is_gone = is_ours and state_of(name) is None
            if is_gone and name.startswith("ds_"):
                self.remove_dataset(name)
            if is_ours and not (is_gone and name.startswith("job_")):
                self._doubts.unmark(name)
        if is_gone and name.startswith("job_"):  # a bucket may take long, and several may do it at once
            self.remove_job(name)
            self._doubts.unmark(name)

    def add_dataset(self, made: Path, dataset_id: str) -> None:
        """Moves the files of a data set, which are on disk, into place, for good."""
        self._disk.rename(made, self.datasets / dataset_id)
        self._disk.flush_folder(self.datasets)

    def job(self, job_id: str) -> Path:
        """The folder of a job, whose id must be one that we made."""
        return self.jobs / job_id

    def add_job(self, job_id: str) -> Path:
        """Makes the folder of a job, for good; it may be there already. It is marked until the job has ended."""
        self._doubts.mark(job_id + BEGAN)
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
        """Removes what only training needed of a job that has ended: its prepared data, what was half written, its
        checkpoints unless it failed, and its model unless it succeeded. Repeating is harmless; while something cannot
        be removed, the job stays marked."""
        folder, mark = self.job(job_id), job_id + BEGAN
        with self._doubts.removing(mark):
            remove_prepared(folder / "prepared")
        with self._doubts.removing(mark):
            for partial in folder.rglob(".*.partial"):
                self._disk.remove(partial)
            if state is not JobState.SUCCEEDED:
                self._disk.remove(self.model(job_id))
        if state is not JobState.FAILED:
            with self._doubts.removing(mark):
                self._storage(job_id).clear()
        self._doubts.unmark(mark)

    def remove_job(self, job_id: str) -> None:
        """Removes all files of a job, which is in doubt; there may be none."""
        with self._doubts.removing(job_id):
            self._storage(job_id).clear()
        with self._doubts.removing(job_id):
            self._disk.remove_tree(self.job(job_id))
            self._disk.flush_folder(self.jobs)  # before the mark is taken away
        self._doubts.unmark(job_id + BEGAN)

    def _storage(self, job_id: str) -> Storage:
        return storage_at(self.checkpoints_url(job_id), self.job(job_id) / "checkpoints")

    def remove_dataset(self, dataset_id: str) -> None:
        """Removes all files of a data set, which is in doubt."""
        with self._doubts.removing(dataset_id):
            self._disk.remove_tree(self.datasets / dataset_id)
            self._disk.flush_folder(self.datasets)


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
