"""Columns of a table as the bytes of a file to upload: Parquet, or npz."""

import io
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError, InvalidInput
from chainrule.tables import array_of, text_of

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["packed"]


def packed(columns: Mapping[str, Any], table: Any = None) -> tuple[bytes, str]:
    """The bytes of the file, and its suffix: the same for the same table.

    Parquet by pyarrow where it is installed, else by Polars for its own `table`; npz without either, and for arrays of
    more than one axis that no missing value stands beside, as it is faster. Raises InvalidInput naming a column that
    Parquet cannot hold, ChainruleError for one that npz cannot.
    """
    has_pyarrow = find_spec("pyarrow") is not None
    if not has_pyarrow and hasattr(table, "write_parquet"):
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        return buffer.getvalue(), ".parquet"
    if not has_pyarrow or any(getattr(values, "ndim", 1) > 1 for values in columns.values()):
        arrays = {name: _plain(array_of(values)) for name, values in columns.items()}
        unfit = next((name for name, array in arrays.items() if array.dtype.kind not in "biufUS"), None)
        if unfit is None:
            return _npz(arrays), ".npz"
        if not has_pyarrow:
            raise ChainruleError(
                f"column {unfit!r} has missing or mixed values: pip install pyarrow, which can send them"
            )
    return _parquet(columns), ".parquet"


# ---------------------------------------------------------------- Parquet
def _parquet(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = _arrow(pa, values)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise InvalidInput.of(name, str(error), "values of one type") from error
        if _holds_lists(pa, arrays[name].type):
            raise InvalidInput.of(name, "lists of several lengths, or a missing one", "lists or arrays of one shape")
    # Tensors of nearly nothing but zeros would make a file so small that unpacking it looks like an attack.
    scalars = [name for name, array in arrays.items() if not pa.types.is_fixed_size_list(array.type)]
    buffer = io.BytesIO()
    try:
        pq.write_table(pa.table(arrays), buffer, use_dictionary=scalars)  # type: ignore[arg-type]
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInput.of("data", str(error), "columns of types that Parquet has") from error
    return buffer.getvalue()


def _arrow(pa: Any, values: Any) -> Any:
    """A column as Arrow has it and as the service takes it: categories are texts, and lists of one length tensors; NaN
    is a missing value."""
    first = next(iter(values), None)
    if getattr(values, "ndim", 1) > 1 or getattr(first, "ndim", 0) > 0 or isinstance(first, list | tuple):
        return _tensor(pa, array_of(values))
    array = values.to_arrow() if hasattr(values, "to_arrow") else values  # of Polars
    if not isinstance(array, pa.Array | pa.ChunkedArray):
        array = pa.array(values, from_pandas=True)
    if _holds_lists(pa, array.type):
        return _tensor(pa, array_of(values))
    if pa.types.is_dictionary(array.type) and not _is_text(pa, array.type.value_type):
        return pa.array([text_of(value) for value in array_of(values)], pa.string()).dictionary_encode()
    return array


def _tensor(pa: Any, cells: "npt.NDArray[Any]") -> Any:
    """Numbers, row by row, in lists of fixed length; what could not be stacked stays lists."""
    array = pa.array(cells.astype(cells.dtype.newbyteorder("="), copy=False).reshape(-1))
    for size in cells.shape[:0:-1]:
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _holds_lists(pa: Any, kind: Any) -> bool:
    """Whether values of the Arrow type are or hold lists that may differ in length."""
    while pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


# ---------------------------------------------------------------- npz
def _plain(array: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
    """Objects of one type as an array of that; where some are missing, or of several types, objects."""
    import numpy as np

    kinds = set(map(type, array)) if array.dtype == object else set()
    if len(kinds) == 1 and issubclass(kinds.pop(), str | bool | int | float):
        return np.array(array.tolist())
    return array


def _npz(arrays: Mapping[str, "npt.NDArray[Any]"]) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # numpy.savez does not take a column that is called `file`
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()
