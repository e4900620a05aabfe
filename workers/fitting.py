"""What is learned of the columns before training: classes, categories, means and scales."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.errors import BadData, InvalidInput
from shared.moments import Moments
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.randomness import Split, split
from shared.spec import JobSpec, ValidationFraction
from shared.table import Column, TableFile
from workers.columns import ArrowColumn, as_numbers, as_tensor, distinct, open_table
from workers.threads import in_order

__all__ = ["Chosen", "Window", "categories_of", "classes_of", "fit", "split_of", "windows"]

Window = slice
Chosen = Callable[[Window], npt.NDArray[np.bool_]]  # which rows of a window are meant

MAX_CLASSES = 10_000
MAX_NUMBER_CLASSES = 1_000  # of a target of type number
WINDOW_ROWS = 65_536
WINDOW_ELEMENTS = 1 << 22


def windows(rows: int, width: int) -> Iterator[Window]:
    """The cuts in which a table of `width` numbers a row is read: a bounded amount of memory each, always the same."""
    step = max(1, min(WINDOW_ROWS, WINDOW_ELEMENTS // max(width, 1)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def split_of(spec: JobSpec, rows: int, look_up: Callable[[], None] | None = None) -> Split | None:
    """Which rows are trained on and which are validated on; None where all are trained on. Without a `look_up` it is
    remembered, for the next of many jobs on one data set.

    Raises InvalidInput when a fraction leaves none.
    """
    if not isinstance(spec.validation, ValidationFraction):
        return None
    if rows < 2:
        raise InvalidInput.of("validation.fraction", spec.validation.fraction, "null: the data set has a single row")
    if look_up is None:
        return _remembered_split(rows, spec.validation.fraction, spec.seed)
    return split(rows, spec.validation.fraction, spec.seed, look_up)


@lru_cache(maxsize=256)
def _remembered_split(rows: int, fraction: float, seed: int) -> Split:
    return split(rows, fraction, seed)


def classes_of(
    file: TableFile, table: pa.Table, column: Column, look_up: Callable[[], None] = lambda: None
) -> list[Any]:
    """The classes of a target in order: those of all rows, so that any split of them knows them all.

    Raises InvalidInput on `target` for fewer than two or too many.
    """
    limit = MAX_NUMBER_CLASSES if column.type == "number" else MAX_CLASSES
    found = distinct(file, table, column, limit, look_up)
    if found is None:
        raise InvalidInput.of("target", column.name, f"a column with at most {limit:,} classes, or task = regression")
    if len(found) < 2:
        raise InvalidInput.of(
            "target", column.name, f"a column with at least two classes; it has {len(found)}: {found}"
        )
    return found


def categories_of(
    file: TableFile,
    table: pa.Table,
    columns: Sequence[Column],
    chosen: Chosen | None,
    look_up: Callable[[], None] = lambda: None,
) -> dict[str, tuple[list[str], bool]]:
    """Of each column: the categories that the chosen rows have, sorted, and whether one of these rows has none."""
    names = {column.name: file.categories[column.name] for column in columns}
    counts = {name: np.zeros(len(known) + 1, np.int64) for name, known in names.items()}
    for window in windows(table.num_rows, len(columns)) if columns else ():
        look_up()
        rows = None if chosen is None else chosen(window)
        for name, known in names.items():
            part: ArrowColumn = table.column(name).slice(window.start, window.stop - window.start)
            codes = (part.fill_null(len(known)) if part.null_count else part).to_numpy()
            counts[name] += np.bincount(codes if rows is None else codes[rows], minlength=len(known) + 1)
    return {name: _present(known, counts[name]) for name, known in names.items()}


def _present(names: Sequence[str], counts: npt.NDArray[np.int64]) -> tuple[list[str], bool]:
    """The names that were counted, sorted, and whether missing ones, which are counted last, were too."""
    return sorted(name for name, count in zip(names, counts[:-1], strict=True) if count), bool(counts[-1])


def fit(
    spec: JobSpec,
    task: Literal["classification", "regression"],
    file: TableFile,
    chosen: Chosen | None,
    threads: int,
    look_up: Callable[[], None] = lambda: None,
) -> FittedPreprocessing:
    """Fits everything on the chosen rows, the training rows (None: all), in bounded memory, by several threads.

    `spec` names its features. Calls `look_up` now and then, which may raise to stop. Raises DataMissing; BadData when
    numbers are too large to take their mean.
    """
    table = open_table(file)
    columns = [_column(file, name) for name in spec.features or ()]
    targets = [_column(file, name) for name in spec.targets]
    numeric = [column for column in columns if column.type != "category"]
    regressed = targets if task == "regression" else []
    moments = _moments([*numeric, *regressed], table, chosen, threads, look_up)
    categories = categories_of(
        file, table, [column for column in columns if column.type == "category"], chosen, look_up
    )
    features = [
        _fitted_category(column, *categories[column.name])
        if column.type == "category"
        else _fitted_number(column, spec, moments[column.name])
        for column in columns
    ]
    if task == "classification":
        classes = classes_of(file, table, targets[0], look_up)
        fitted = [FittedTarget(name=targets[0].name, type=targets[0].type, classes=classes)]
    else:
        fitted = [_fitted_target(column, spec, moments[column.name]) for column in targets]
    return FittedPreprocessing(task=task, features=features, targets=fitted)


def _column(file: TableFile, name: str) -> Column:
    column = file.column(name)
    if column is None:
        raise BadData(f"data set {file.dataset_id} has no column {name!r}")
    return column


def elements(column: Column) -> int:
    """Numbers in one row's value."""
    return math.prod(column.shape or [1])


def _moments(
    columns: Sequence[Column], table: pa.Table, chosen: Chosen | None, threads: int, look_up: Callable[[], None]
) -> dict[str, Moments]:
    """Of each column's chosen rows; a tensor of rank 1 element by element, of a higher rank all elements together."""
    widths = [elements(column) if column.shape is not None and len(column.shape) == 1 else 1 for column in columns]

    def of_window(window: Window) -> list[Moments]:
        rows = None if chosen is None else chosen(window)
        found = []
        for column, width in zip(columns, widths, strict=True):
            part = table.column(column.name).slice(window.start, window.stop - window.start)
            values = as_tensor(part) if column.type == "tensor" else as_numbers(part)
            if rows is not None:
                values = values[rows]
            found.append(Moments.of(values.reshape(-1, width).astype(np.float64, copy=False)))
        return found

    moments = {column.name: Moments(width) for column, width in zip(columns, widths, strict=True)}
    if not columns:
        return moments
    for chunks in in_order(of_window, windows(table.num_rows, sum(map(elements, columns))), threads, look_up):
        for kept, chunk in zip(moments.values(), chunks, strict=True):
            kept.add(chunk)
    for name, kept in moments.items():
        if not (np.isfinite(kept.mean).all() and np.isfinite(kept.scale).all()):
            raise BadData(f"column {name!r}: its numbers are too large to take their mean and standard deviation")
    return moments


def _fitted_category(column: Column, categories: list[str], missing: bool) -> FittedFeature:
    width = len(categories) + missing
    return FittedFeature(
        name=column.name, type=column.type, width=width, categories=categories, missing_category=missing
    )


def _fitted_number(column: Column, spec: JobSpec, moments: Moments) -> FittedFeature:
    standardize = spec.preprocessing.standardize and column.type != "boolean"
    fills = spec.preprocessing.missing == "mean" and column.type != "tensor"
    return FittedFeature(
        name=column.name,
        type=column.type,
        shape=column.shape,
        width=elements(column),
        mean=tuple(moments.mean.tolist()) if standardize else (0.0,),
        scale=tuple(moments.scale.tolist()) if standardize else (1.0,),
        fill=float(moments.mean[0]) if fills else None,
    )


def _fitted_target(column: Column, spec: JobSpec, moments: Moments) -> FittedTarget:
    if not spec.preprocessing.standardize:
        return FittedTarget(name=column.name, type=column.type)
    return FittedTarget(name=column.name, type=column.type, mean=float(moments.mean[0]), scale=float(moments.scale[0]))
