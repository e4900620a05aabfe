"""Prepared data: a job's rows as row-major matrices on disk, which every worker of a node maps into its memory."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from shared.errors import BadData, DataMissing
from shared.plan import Plan
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.table import Column, TableFile
from workers.columns import Reader, as_numbers, as_tensor, open_table, positions, stored_dtype
from workers.fitting import fit, training_mask, windows
from workers.rows import Rows

__all__ = ["PreparedData", "prepare"]

Array = npt.NDArray[Any]
Part = Literal["training", "validation"]


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
) -> PreparedData:
    """Encodes the rows into `folder`, or finds that done: complete or absent, also after a crash on the way.

    The bits depend on the plan and the data sets alone. Reads each file once to fit and once to encode, in bounded
    memory. Calls `look_up` now and then, which may raise to stop. Raises DataMissing, BadData, OSError.
    """
    identity = _identity(plan, training, validation)
    marker = folder / "prepared.json"
    if marker.exists() and json.loads(marker.read_bytes())["identity"] == identity:
        return PreparedData.load(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    task = plan.spec.task
    assert task != "auto", "a plan names its task"
    preprocessing = fit(plan.spec, task, training)
    if (preprocessing.inputs, preprocessing.outputs) != (plan.inputs, plan.outputs):
        raise BadData(
            f"the data give {preprocessing.inputs} inputs and {preprocessing.outputs} outputs, "
            f"the plan says {plan.inputs} and {plan.outputs}; submit the job again"
        )
    mask = training_mask(plan.spec, training.rows)
    _encode(plan, preprocessing, training, folder, "training", mask, look_up)
    if validation is not None:
        _encode(plan, preprocessing, validation, folder, "validation", None, look_up)
    elif mask is not None:
        _encode(plan, preprocessing, training, folder, "validation", ~mask, look_up)
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


# ---------------------------------------------------------------- encoding
def _encode(
    plan: Plan,
    preprocessing: FittedPreprocessing,
    file: TableFile,
    folder: Path,
    part: Part,
    mask: Array | None,
    look_up: Callable[[], None],
) -> None:
    """Writes `part`_x.npy and `part`_y.npy from the rows of `file` that `mask` chooses (None: all).

    Written as a stream rather than through a map, so that a full disk is an OSError and not a bus error.
    """
    rows = file.rows if mask is None else int(mask.sum())
    dtype = np.dtype(plan.spec.dtype)
    stored = stored_dtype(file, plan.spec)
    classified = preprocessing.task == "classification"
    y_dtype, y_shape = (np.dtype(np.int32), ()) if classified else (dtype, (plan.outputs,))
    with (folder / f"{part}_x.npy").open("wb") as x_file, (folder / f"{part}_y.npy").open("wb") as y_file:
        _write_header(x_file, stored, (rows, plan.inputs))
        _write_header(y_file, y_dtype, (rows, *y_shape))
        for columns, count in _windows(preprocessing, file, mask):
            look_up()
            x, y = np.empty((count, plan.inputs), stored), np.empty((count, *y_shape), y_dtype)
            if stored == dtype:
                preprocessing.encode_features(columns, x)
            else:
                np.concatenate([columns[feature.name] for feature in preprocessing.features], axis=1, out=x)
            preprocessing.encode_targets(columns, y)
            _check(preprocessing, x, y, plan.spec.dtype)
            x_file.write(x.data)
            y_file.write(y.data)
        for written in (x_file, y_file):
            written.flush()
            os.fsync(written.fileno())


def _write_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _windows(
    preprocessing: FittedPreprocessing, file: TableFile, mask: Array | None
) -> Iterator[tuple[dict[str, Array], int]]:
    """The columns of the chosen rows as arrays, window after window, and how many rows each has."""
    table = open_table(file)
    readers = {feature.name: _feature_reader(feature, file) for feature in preprocessing.features}
    readers |= {target.name: _target_reader(target, file) for target in preprocessing.targets}
    for window in windows(file.rows, preprocessing.inputs):
        part = table.slice(window.start, window.stop - window.start)
        columns = {name: read(part.column(name)) for name, read in readers.items()}
        if mask is None:
            yield columns, part.num_rows
        elif mask[window].any():
            chosen = np.flatnonzero(mask[window])
            yield {name: values[chosen] for name, values in columns.items()}, len(chosen)


def _feature_reader(feature: FittedFeature, file: TableFile) -> Reader:
    if feature.type == "tensor":
        return as_tensor
    if feature.type == "category":
        return positions(file, _column(file, feature.name), feature.categories or [], feature.missing_position)
    return _number_reader(feature.name, file)


def _target_reader(target: FittedTarget, file: TableFile) -> Reader:
    if target.classes is None:
        return _number_reader(target.name, file)
    return positions(file, _column(file, target.name), target.classes)


def _number_reader(name: str, file: TableFile) -> Reader:
    if _column(file, name).missing == file.rows:  # then the column's own type says nothing
        return lambda window: np.full(len(window), np.nan)
    return as_numbers


def _column(file: TableFile, name: str) -> Column:
    column = file.column(name)
    if column is None:
        raise BadData(f"data set {file.dataset_id} has no column {name!r}")
    return column


def _check(preprocessing: FittedPreprocessing, x: Array, y: Array, dtype: str) -> None:
    """Raises BadData for what cannot be trained on: the plan has checked, but files and versions can change."""
    if not np.isfinite(x).all():
        index = int(np.argwhere(~np.isfinite(x))[0][1])
        start = 0
        for feature in preprocessing.features:
            start += feature.width
            if index < start:
                raise BadData(f"column {feature.name!r}: a value is missing or too large for {dtype}")
    if y.dtype == np.int32:
        if y.min() < 0:
            raise BadData(f"column {preprocessing.targets[0].name!r}: a value is missing or none of the classes")
    elif not np.isfinite(y).all():
        index = int(np.argwhere(~np.isfinite(y))[0][1])
        raise BadData(f"column {preprocessing.targets[index].name!r}: a value is missing or too large for {dtype}")
