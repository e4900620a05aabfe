"""Prepared data: a job's rows as row-major matrices on disk, which every worker of a node maps into its memory."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import BadData, DataMissing
from shared.plan import Plan
from shared.preprocessing import FittedPreprocessing
from shared.table import TableFile
from workers.encoding import Part, write_part
from workers.fitting import fit, training_mask
from workers.rows import Rows

__all__ = ["PreparedData", "prepare"]

Array = npt.NDArray[Any]
MAX_THREADS = 4  # each takes about 100 MB


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
        """What `prepare` left in `folder`. Raises DataMissing when it is not there or not whole."""
        try:
            told = json.loads((folder / "prepared.json").read_bytes())
            preprocessing = FittedPreprocessing.model_validate_json((folder / "preprocessing.json").read_bytes())
        except FileNotFoundError:
            raise DataMissing("the job's prepared data are gone; submit the job again") from None
        return cls(folder, preprocessing, told["training_rows"], told["validation_rows"])

    def open_training(self, dtype: np.dtype[Any]) -> Rows:
        """The rows that are trained on, memory-mapped, to be gathered as the job's dtype. Raises DataMissing."""
        return self._open("training", dtype)

    def open_validation(self, dtype: np.dtype[Any]) -> Rows:
        """The rows that are validated on, likewise. Raises DataMissing."""
        return self._open("validation", dtype)

    def _open(self, part: Part, dtype: np.dtype[Any]) -> Rows:
        return Rows(self._map(f"{part}_x"), self._map(f"{part}_y"), dtype, self.preprocessing)

    def _map(self, name: str) -> Array:
        try:
            mapped = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise DataMissing(f"the job's prepared data are gone: no {name}") from None
        return np.asarray(mapped)  # the plain array, which numpy and numba take faster than a memmap


def prepare(
    plan: Plan,
    training: TableFile,
    validation: TableFile | None,
    folder: Path,
    look_up: Callable[[], None] = lambda: None,
    threads: int = 1,
) -> PreparedData:
    """Encodes the rows into `folder`, or finds that done: complete or absent, also after a crash on the way.

    The bits depend on the plan and the data sets alone. Reads each file once to fit and once to encode, in bounded
    memory, by as many as `threads` threads. Calls `look_up` now and then, which may raise to stop. Raises DataMissing,
    BadData, OSError.
    """
    identity = _identity(plan, training, validation)
    marker = folder / "prepared.json"
    if marker.exists() and json.loads(marker.read_bytes())["identity"] == identity:
        return PreparedData.load(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    task = plan.spec.task
    assert task != "auto", "a plan names its task"
    threads = min(threads, os.cpu_count() or 1, MAX_THREADS)
    preprocessing = fit(plan.spec, task, training, threads)
    if (preprocessing.inputs, preprocessing.outputs) != (plan.inputs, plan.outputs):
        raise BadData(
            f"the data give {preprocessing.inputs} inputs and {preprocessing.outputs} outputs, "
            f"the plan says {plan.inputs} and {plan.outputs}; submit the job again"
        )
    mask = training_mask(plan.spec, training.rows)
    write_part(plan, preprocessing, training, folder, "training", mask, look_up, threads)
    if validation is not None:
        write_part(plan, preprocessing, validation, folder, "validation", None, look_up, threads)
    elif mask is not None:
        write_part(plan, preprocessing, training, folder, "validation", ~mask, look_up, threads)
    _write(folder / "preprocessing.json", preprocessing.model_dump_json())
    rows = {"training_rows": plan.training_rows, "validation_rows": plan.validation_rows}
    _write(marker, json.dumps({"identity": identity, **rows}))
    return PreparedData(folder, preprocessing, plan.training_rows, plan.validation_rows)


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
