"""From a data set's rows to the matrices that are trained on."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from shared.errors import BadData
from shared.plan import Plan
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.table import Column, TableFile
from workers.columns import Reader, as_numbers, as_tensor, open_table, positions, stored_dtype
from workers.disk import Disk
from workers.fitting import Chosen, Window, windows
from workers.threads import in_order, waited

__all__ = ["Part", "reader", "write_part"]

Array = npt.NDArray[Any]
Columns = dict[str, Array]
Part = Literal["training", "validation"]


def write_part(
    plan: Plan,
    preprocessing: FittedPreprocessing,
    file: TableFile,
    folder: Path,
    part: Part,
    rows: int,
    chosen: Chosen | None,
    look_up: Callable[[], None],
    threads: int,
    disk: Disk,
) -> None:
    """Writes `part`_x.npy and `part`_y.npy from the rows of `file` that are chosen (None: all), `rows` in number.

    Windows of rows are encoded by several threads and written in order, as a stream rather than through a map, so that
    a full disk is an OSError and not a bus error; so is one that becomes full but for its reserve, by others too. Calls
    `look_up` now and then, which may raise to stop. Raises DataMissing, BadData, OSError.
    """
    dtype = np.dtype(plan.spec.dtype)
    stored = stored_dtype(file, plan.spec)
    classified = preprocessing.task == "classification"
    y_dtype, y_shape = (np.dtype(np.int32), ()) if classified else (dtype, (plan.outputs,))
    columns_of = reader(preprocessing, file)

    def encode(window: Window) -> tuple[Array, Array]:
        numbers = None if chosen is None else np.flatnonzero(chosen(window))
        count = window.stop - window.start if numbers is None else len(numbers)
        x, y = np.empty((count, plan.inputs), stored), np.empty((count, *y_shape), y_dtype)
        if not count:
            return x, y
        columns = columns_of(window, numbers)
        if stored == dtype:
            preprocessing.encode_features(columns, x)
        else:
            np.concatenate([columns[feature.name] for feature in preprocessing.features], axis=1, out=x)
        preprocessing.encode_targets(columns, y)
        _check(preprocessing, x, y, plan.spec.dtype)
        return x, y

    with (folder / f"{part}_x.npy").open("wb") as x_file, (folder / f"{part}_y.npy").open("wb") as y_file:
        _write_header(x_file, stored, (rows, plan.inputs))
        _write_header(y_file, y_dtype, (rows, *y_shape))
        for x, y in in_order(encode, windows(file.rows, plan.inputs), threads, look_up):
            disk.check_room(folder, x.nbytes + y.nbytes)
            x_file.write(x.data)
            y_file.write(y.data)
        for written in (x_file, y_file):
            written.flush()
            waited(partial(os.fsync, written.fileno()), look_up)  # of gigabytes, that takes long


def _write_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def reader(preprocessing: FittedPreprocessing, file: TableFile) -> Callable[[Window, Array | None], Columns]:
    """What reads the rows of a window that have these numbers within it (None: all), as arrays by column.

    Raises DataMissing, BadData.
    """
    table = open_table(file)
    readers = {feature.name: _feature_reader(feature, file) for feature in preprocessing.features}
    readers |= {target.name: _target_reader(target, file) for target in preprocessing.targets}

    def read(window: Window, numbers: Array | None) -> Columns:
        part = table.slice(window.start, window.stop - window.start)
        columns = {name: reader(part.column(name)) for name, reader in readers.items()}
        return columns if numbers is None else {name: values[numbers] for name, values in columns.items()}

    return read


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
