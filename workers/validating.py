"""Whether a training can be validated as its spec asks: columns alike, classes that are known, a metric that exists."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shared.errors import InvalidInput
from shared.spec import JobSpec, ValidationDataset
from shared.table import Column, TableFile
from workers.columns import NUMERIC, open_table, positions
from workers.fitting import Chosen, windows
from workers.remembering import remembered

__all__ = ["check_early_stopping", "check_validation"]

STRINGS = frozenset({"category", "text"})
METRICS = {"classification": ("loss", "accuracy", "auc"), "regression": ("loss", "rmse", "mae", "r2")}


def check_validation(
    spec: JobSpec,
    validation: TableFile,
    features: Sequence[Column],
    targets: Sequence[Column],
    classes: Sequence[Any] | None,
) -> None:
    """Raises InvalidInput unless the validation data set has all the columns, of types that can be encoded alike."""
    if not validation.rows:
        raise _refused(spec, "a data set with rows")
    for wanted in (*features, *targets):
        column = validation.column(wanted.name)
        kind = wanted.type if wanted.shape is None else f"{wanted.type} of shape {wanted.shape}"
        if column is None:
            raise _refused(spec, f"a data set with a column {wanted.name!r} of type {kind}")
        if not _alike(wanted, column, validation.rows):
            has = column.type if column.shape is None else f"{column.type} of shape {column.shape}"
            raise _refused(spec, f"a data set whose column {wanted.name!r} is of type {kind}; it is of type {has}")
        strict = spec.preprocessing.missing == "error" and wanted.type != "category"
        if column.missing and (strict or wanted.name in spec.targets):
            raise _refused(spec, f"no missing values in column {wanted.name!r}; {column.missing:,} are missing")
    if classes is not None:
        _check_classes(spec, validation, classes)


def _refused(spec: JobSpec, expected: str) -> InvalidInput:
    assert isinstance(spec.validation, ValidationDataset)
    return InvalidInput.of("validation.dataset", spec.validation.dataset, expected)


def _alike(wanted: Column, column: Column, rows: int) -> bool:
    if wanted.type == "tensor" or column.type == "tensor":
        return wanted.type == column.type and wanted.shape == column.shape
    if column.missing == rows:
        return True
    groups = (NUMERIC, STRINGS)
    return wanted.type == column.type or any(wanted.type in group and column.type in group for group in groups)


def _check_classes(spec: JobSpec, validation: TableFile, classes: Sequence[Any]) -> None:
    asked = "unseen", spec.targets[0], tuple(classes)
    unseen = remembered(validation, asked, lambda: _unseen(validation, spec.targets[0], classes))
    if unseen is not None:
        raise _refused(spec, f"only classes that the training data set has; {unseen}")


def _unseen(validation: TableFile, name: str, classes: Sequence[Any]) -> str | None:
    """Where the first row is whose class is none of these, in words; None where there is no such row."""
    column = validation.column(name)
    assert column is not None
    read = positions(validation, column, classes)
    row = 0
    for chunk in open_table(validation).column(name).chunks:
        unseen = np.flatnonzero(read(pa.chunked_array([chunk])) < 0)
        if len(unseen):
            value = chunk[int(unseen[0])].as_py()
            shown = validation.categories[name][value] if column.type == "category" else value
            return f"row {row + int(unseen[0]) + 1} of column {name!r} holds {shown!r}"
        row += len(chunk)
    return None


def check_early_stopping(spec: JobSpec, classes: Sequence[Any] | None, file: TableFile, chosen: Chosen | None) -> None:
    """Raises InvalidInput for a metric that the validation rows, those of `file` that are chosen, do not have."""
    if spec.early_stopping is None or spec.early_stopping.metric == "train_loss":
        return
    assert spec.task != "auto", "the spec is completed"
    metric, known = spec.early_stopping.metric, METRICS[spec.task]
    if metric not in known or (metric == "auc" and len(classes or ()) != 2):
        possible = [name for name in (*known, "train_loss") if name != "auc" or len(classes or ()) == 2]
        kind = spec.task if classes is None else f"{spec.task} of {len(classes)} classes"
        raise InvalidInput.of("early_stopping.metric", metric, f"{', '.join(possible)}: this is a {kind}")
    if metric in ("auc", "r2"):
        for name in spec.targets:
            if _constant(file, name, chosen):
                expected = f"another metric: all validation rows have the same {name!r}, so {metric} is not defined"
                raise InvalidInput.of("early_stopping.metric", metric, expected)


def _constant(file: TableFile, name: str, chosen: Chosen | None) -> bool:
    column = open_table(file).column(name)
    seen: list[Any] = []
    for window in windows(file.rows, 1):
        values = column.slice(window.start, window.stop - window.start)
        if chosen is not None:
            values = values.filter(pa.array(chosen(window)))
        seen = pa.array([*seen, *values.unique().slice(0, 2).to_pylist()], column.type).unique().to_pylist()
        if len(seen) > 1:
            return False
    return True
