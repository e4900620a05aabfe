"""Columns of a data set's Arrow file as numpy arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import BadData, DataMissing
from shared.preprocessing import UNSEEN
from shared.spec import JobSpec
from shared.table import Column, TableFile

__all__ = [
    "NUMERIC",
    "ArrowColumn",
    "Reader",
    "as_numbers",
    "as_tensor",
    "distinct",
    "open_table",
    "positions",
    "stored_dtype",
]

Array = npt.NDArray[Any]
ArrowColumn = Any  # a pyarrow.ChunkedArray, whose type stubs know too little
Reader = Callable[[ArrowColumn], Array]  # from a window of an Arrow column to one array

NUMERIC = frozenset({"number", "integer"})


def open_table(file: TableFile) -> pa.Table:
    """The data set's rows, memory-mapped: nothing is read before it is used.

    Raises DataMissing when the file is gone and BadData when it is not what `file` says.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(file.path)).read_all()
    except FileNotFoundError:
        raise DataMissing(f"data set {file.dataset_id} is missing: its file is gone; upload it again") from None
    except pa.ArrowInvalid as error:
        raise BadData(f"the file of data set {file.dataset_id} is damaged ({error}); upload it again") from error
    if table.num_rows != file.rows or table.column_names != [column.name for column in file.columns]:
        raise BadData(f"the file of data set {file.dataset_id} is not the one that was uploaded; upload it again")
    return table


def stored_dtype(file: TableFile, spec: JobSpec) -> np.dtype[Any]:
    """What a prepared x is stored as: uint8 where every feature is a tensor of uint8, images for example, else the
    job's dtype. `spec` names its features."""
    features = [file.column(name) for name in spec.features or ()]
    bytes_alone = all(feature is not None and feature.dtype == "uint8" for feature in features)
    return np.dtype(np.uint8 if bytes_alone else spec.dtype)


def as_numbers(column: ArrowColumn) -> Array:
    """Numbers, integers and booleans as float64, NaN where missing."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    values = column.cast(pa.float64(), safe=False)
    numbers: Array = (values.fill_null(np.nan) if values.null_count else values).to_numpy()
    return numbers


def as_tensor(column: ArrowColumn) -> Array:
    """A tensor column as rows × elements in its own dtype."""
    size = column.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), size) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def positions(file: TableFile, column: Column, wanted: Sequence[Any], missing: int = UNSEEN) -> Reader:
    """A reader of the int32 positions of a column's values in `wanted`: `missing` for nulls, UNSEEN for all others."""
    if column.missing == file.rows:
        return lambda window: np.full(len(window), missing, np.int32)
    if column.type == "category":
        place = {value: position for position, value in enumerate(wanted)}
        table = np.array([*(place.get(name, UNSEEN) for name in file.categories[column.name]), missing], np.int32)
        last = len(table) - 1
        return lambda window: table[(window.fill_null(last) if window.null_count else window).to_numpy()]
    values: Any = pa.array(wanted, pa.large_string() if column.type == "text" else None)

    def read(window: ArrowColumn) -> Array:
        wanted_values = values
        if column.type in NUMERIC and window.type != values.type:
            window, wanted_values = window.cast(pa.float64(), safe=False), values.cast(pa.float64(), safe=False)
        places: ArrowColumn = pc.index_in(window, value_set=wanted_values)
        found: Array = places.fill_null(UNSEEN).to_numpy()
        if window.null_count:
            found = np.where(window.is_null().to_numpy(), np.int32(missing), found)
        return found

    return read


def distinct(
    file: TableFile, table: pa.Table, column: Column, limit: int, look_up: Callable[[], None] = lambda: None
) -> list[Any] | None:
    """The different values of a column in order, missing ones aside; None if they are more than `limit`."""
    found: set[Any] = set()
    for chunk in table.column(column.name).chunks:
        look_up()
        found.update(pc.unique(chunk).drop_null().to_pylist())
        if len(found) > limit:
            return None
    return sorted(file.categories[column.name][code] for code in found) if column.type == "category" else sorted(found)
