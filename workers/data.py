"""Prepared data: a job's rows as row-major matrices on disk, which every worker of a node maps into its memory."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import BadData
from shared.plan import Plan
from shared.preprocessing import FittedPreprocessing
from shared.table import TableFile
from workers.arrays import map_array
from workers.columns import stored_dtype
from workers.costs import prepared_bytes
from workers.disk import DISK, Disk
from workers.encoding import Part, write_part
from workers.fitting import fit, split_of
from workers.job import PreparedGone
from workers.rows import Rows

__all__ = ["PreparedData", "prepare"]

Array = npt.NDArray[Any]
MARKER = "prepared.json"  # written last: it tells what has been prepared, and the size of each file in bytes
MAX_THREADS = 3  # each takes about 100 MB, and the process is to stay below 500


@dataclass(frozen=True)
class PreparedData:
    """The matrices of one job, and how they came about.

    x is rows × inputs of the job's dtype, or of uint8 where every feature is a tensor of uint8: see `Rows`. y is int32
    class codes (rows,) for a classification, else rows × outputs of the job's dtype.
    """

    folder: Path
    preprocessing: FittedPreprocessing
    training_rows: int
    validation_rows: int

    @classmethod
    def load(cls, folder: Path) -> "PreparedData":
        """What `prepare` left in `folder`. Raises PreparedGone when it is not there or not whole."""
        try:
            told = json.loads((folder / MARKER).read_bytes())
            preprocessing = FittedPreprocessing.model_validate_json((folder / "preprocessing.json").read_bytes())
        except FileNotFoundError:
            raise PreparedGone("the job's prepared data are gone") from None
        except ValueError as error:
            raise PreparedGone("the job's prepared data are damaged") from error
        return cls(folder, preprocessing, told["training_rows"], told["validation_rows"])

    def open_training(self, dtype: np.dtype[Any]) -> Rows:
        """The rows that are trained on, memory-mapped, to be gathered as the job's dtype. Raises PreparedGone."""
        return self._open("training", dtype)

    def open_validation(self, dtype: np.dtype[Any]) -> Rows:
        """The rows that are validated on, likewise. Raises PreparedGone."""
        return self._open("validation", dtype)

    def _open(self, part: Part, dtype: np.dtype[Any]) -> Rows:
        return Rows(self._map(f"{part}_x"), self._map(f"{part}_y"), dtype, self.preprocessing)

    def _map(self, name: str) -> Array:
        try:
            mapped = map_array(self.folder / f"{name}.npy")
        except FileNotFoundError:
            raise PreparedGone(f"the job's prepared data are gone: no {name}") from None
        except ValueError as error:  # it is shorter than it says, and touching what is not there would be a SIGBUS
            raise PreparedGone(f"the job's prepared data are damaged: {name}: {error}") from error
        return np.asarray(mapped)  # the plain array, which numpy and numba take faster than a memmap


def prepare(
    plan: Plan,
    training: TableFile,
    validation: TableFile | None,
    folder: Path,
    look_up: Callable[[], None] = lambda: None,
    threads: int = 1,
    disk: Disk = DISK,
) -> PreparedData:
    """Encodes the rows into `folder`, or finds that done: complete or absent, also after a crash on the way; where
    there is no room for all of it, it does not begin.

    The bits depend on the plan and the data sets alone. Reads each file once to fit and once to encode, in bounded
    memory, by as many as `threads` threads. Calls `look_up` now and then, and at last before anything is put in place,
    which may raise to stop. Raises DataMissing, BadData, OSError.
    """
    identity = _identity(plan, training, validation)
    if _is_whole(folder, identity):
        return PreparedData.load(folder)
    made, stale = (folder.with_name(f"{folder.name}.{secrets.token_hex(4)}") for _ in range(2))
    # Listed before `look_up`, and moved away right after it: to remove takes long, and whoever is given up meanwhile is
    # to take nothing away from a successor, who may have begun to prepare by then.
    leftovers = list(folder.parent.glob(f"{folder.name}.*"))
    look_up()
    with suppress(FileNotFoundError):
        folder.rename(stale)
    for each in (stale, *leftovers):
        shutil.rmtree(each, ignore_errors=True)
    try:
        # A folder of its own, as somebody who was given up for dead may still be writing to his.
        made.mkdir()
        disk.check_room(made, _size_bytes(plan, training))
        _prepare(plan, training, validation, made, look_up, threads, identity, disk)
        look_up()
        made.replace(folder)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        if not _is_whole(folder, identity):  # by somebody else, just now
            look_up()  # it may be that the job was deleted, and its folder with it
            raise
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return PreparedData.load(folder)


def _prepare(
    plan: Plan,
    training: TableFile,
    validation: TableFile | None,
    folder: Path,
    look_up: Callable[[], None],
    threads: int,
    identity: str,
    disk: Disk,
) -> None:
    task = plan.spec.task
    assert task != "auto", "a plan names its task"
    threads = min(threads, os.cpu_count() or 1, MAX_THREADS)
    split = split_of(plan.spec, training.rows, look_up)
    trains = None if split is None else split.trains
    preprocessing = fit(plan.spec, task, training, trains, threads, look_up)
    if (preprocessing.inputs, preprocessing.outputs) != (plan.inputs, plan.outputs):
        raise BadData(
            f"the data give {preprocessing.inputs} inputs and {preprocessing.outputs} outputs, "
            f"the plan says {plan.inputs} and {plan.outputs}; submit the job again"
        )
    encode = partial(write_part, plan, preprocessing, folder=folder, look_up=look_up, threads=threads, disk=disk)
    encode(training, part="training", rows=plan.training_rows, chosen=trains)
    if validation is not None:
        encode(validation, part="validation", rows=plan.validation_rows, chosen=None)
    elif split is not None:
        encode(training, part="validation", rows=plan.validation_rows, chosen=split.validates)
    _write(folder / "preprocessing.json", preprocessing.model_dump_json())
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    rows = {"training_rows": plan.training_rows, "validation_rows": plan.validation_rows}
    _write(folder / MARKER, json.dumps({"identity": identity, **rows, "files": sizes}))


def _size_bytes(plan: Plan, training: TableFile) -> int:
    """What will be written."""
    stored_bytes = stored_dtype(training, plan.spec).itemsize
    rows = plan.training_rows, plan.validation_rows
    return prepared_bytes(plan.spec, plan.inputs, plan.outputs, *rows, stored_bytes)


def _is_whole(folder: Path, identity: str) -> bool:
    """Whether `folder` holds all that was prepared for that identity: files may have vanished since."""
    try:
        told = json.loads((folder / MARKER).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in told["files"]}
    except (FileNotFoundError, ValueError, KeyError):
        return False
    return bool(told["identity"] == identity and sizes == told["files"])


def _identity(plan: Plan, training: TableFile, validation: TableFile | None) -> str:
    what = [plan.spec.identity(), training.sha256, None if validation is None else validation.sha256]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
