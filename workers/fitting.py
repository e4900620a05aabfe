"""What is learned of the columns before training: classes, categories, means and scales."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.errors import BadData, InvalidInput
from shared.moments import Moments
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.randomness import split
from shared.spec import JobSpec, ValidationFraction
from shared.table import Column, TableFile
from workers.columns import as_numbers, as_tensor, distinct, open_table
from workers.threads import in_order

__all__ = ["Window", "categories_of", "classes_of", "fit", "training_mask", "windows"]

Mask = npt.NDArray[np.bool_]
Window = slice

MAX_CLASSES = 10_000
MAX_NUMBER_CLASSES = 1_000  # of a target of type number
WINDOW_ROWS = 65_536
WINDOW_ELEMENTS = 1 << 22


def windows(rows: int, width: int) -> Iterator[Window]:
    """The cuts in which a table of `width` numbers a row is read: a bounded amount of memory each, always the same."""
    step = max(1, min(WINDOW_ROWS, WINDOW_ELEMENTS // max(width, 1)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def training_mask(spec: JobSpec, rows: int) -> Mask | None:
    """Which rows are trained on; None for all of them. Raises InvalidInput when a fraction leaves none."""
    if not isinstance(spec.validation, ValidationFraction):
        return None
    if rows < 2:
        raise InvalidInput.of("validation.fraction", spec.validation.fraction, "null: the data set has a single row")
    mask = np.ones(rows, np.bool_)
    mask[split(rows, spec.validation.fraction, spec.seed)[1]] = False
    return mask


def classes_of(file: TableFile, table: pa.Table, column: Column) -> list[Any]:
    """The classes of a target in order: those of all rows, so that any split of them knows them all.

    Raises InvalidInput on `target` for fewer than two or too many.
    """
    limit = MAX_NUMBER_CLASSES if column.type == "number" else MAX_CLASSES
    found = distinct(file, table, column, limit)
    if found is None:
        raise InvalidInput.of("target", column.name, f"a column with at most {limit:,} classes, or task = regression")
    if len(found) < 2:
        raise InvalidInput.of(
            "target", column.name, f"a column with at least two classes; it has {len(found)}: {found}"
        )
    return found


def categories_of(file: TableFile, table: pa.Table, column: Column, mask: Mask | None) -> tuple[list[str], bool]:
    """The categories that the training rows have, sorted, and whether a training row misses one."""
    names = file.categories[column.name]
    counts, start = np.zeros(len(names) + 1, np.int64), 0
    for chunk in table.column(column.name).chunks:
        codes = (chunk.fill_null(len(names)) if chunk.null_count else chunk).to_numpy(zero_copy_only=False)
        chosen = codes if mask is None else codes[mask[start : start + len(codes)]]
        counts += np.bincount(chosen, minlength=len(counts))
        start += len(codes)
    return sorted(name for name, count in zip(names, counts[:-1], strict=True) if count), bool(counts[-1])


def fit(
    spec: JobSpec, task: Literal["classification", "regression"], file: TableFile, threads: int
) -> FittedPreprocessing:
    """Fits everything on the training rows, in one pass and bounded memory, by several threads.

    `spec` names its features. Raises DataMissing; BadData when numbers are too large to take their mean.
    """
    table, mask = open_table(file), training_mask(spec, file.rows)
    numeric = [column for name in spec.features or () if (column := _column(file, name)).type != "category"]
    targets = [_column(file, name) for name in spec.targets]
    regressed = targets if task == "regression" else []
    moments = _moments([*numeric, *regressed], table, mask, threads)
    features = []
    for name in spec.features or ():
        column = _column(file, name)
        if column.type == "category":
            categories, missing = categories_of(file, table, column, mask)
            width = len(categories) + missing
            features.append(
                FittedFeature(name=name, type=column.type, width=width, categories=categories, missing_category=missing)
            )
        else:
            features.append(_fitted_number(column, spec, moments[name]))
    if task == "classification":
        classes = classes_of(file, table, targets[0])
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
    return int(np.prod(column.shape or [1], dtype=np.int64))


def _moments(columns: Sequence[Column], table: pa.Table, mask: Mask | None, threads: int) -> dict[str, Moments]:
    """Of each column's training rows; a tensor of rank 1 element by element, of a higher rank all elements together."""
    widths = [elements(column) if column.shape is not None and len(column.shape) == 1 else 1 for column in columns]

    def of_window(window: Window) -> list[Moments]:
        chosen = None if mask is None else mask[window]
        found = []
        for column, width in zip(columns, widths, strict=True):
            part = table.column(column.name).slice(window.start, window.stop - window.start)
            values = as_tensor(part) if column.type == "tensor" else as_numbers(part)
            if chosen is not None:
                values = values[chosen]
            found.append(Moments.of(values.reshape(-1, width).astype(np.float64, copy=False)))
        return found

    moments = {column.name: Moments(width) for column, width in zip(columns, widths, strict=True)}
    for chunks in in_order(of_window, windows(table.num_rows, sum(map(elements, columns))), threads):
        for kept, chunk in zip(moments.values(), chunks, strict=True):
            kept.add(chunk)
    for name, kept in moments.items():
        if not (np.isfinite(kept.mean).all() and np.isfinite(kept.scale).all()):
            raise BadData(f"column {name!r}: its numbers are too large to take their mean and standard deviation")
    return moments


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
