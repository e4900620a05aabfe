"""Tables as users have them: of pandas, Polars or Arrow, dictionaries of columns, lists of rows, numpy arrays.

None of these libraries is imported here unless the user's table is one of it. Tables are known by what they can do:
those with `columns` (or Arrow's `column_names`) give a column by its name, and numpy makes an array of a column.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError, InvalidInput

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["X", "array_of", "columns_of", "packed", "rows_of"]

X = "x"
"""The column that the rows of a numpy array become."""


def columns_of(data: Any) -> dict[str, Any]:
    """The columns by name, each as the library has it. Raises InvalidInput for what is no table."""
    if hasattr(data, "collect"):
        raise InvalidInput.of("data", type(data).__name__, "a table that has been computed: collect() it")
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if names is not None and not callable(names):
        return _named((name, data[name]) for name in names)
    if isinstance(data, Mapping):
        return _named(data.items())
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        return _named((name, [row.get(name) for row in data]) for name in dict.fromkeys(n for row in data for n in row))
    if hasattr(data, "__array__") and (dtype := getattr(data, "dtype", None)) is not None:
        return {name: data[name] for name in dtype.names} if dtype.names else {X: data}
    if hasattr(data, "__arrow_c_stream__"):
        return columns_of(_pyarrow().table(data))
    raise InvalidInput.of("data", type(data).__name__, "a table, a dictionary of columns, rows, or a numpy array")


def _named(columns: Any) -> dict[str, Any]:
    found = {}
    for name, values in columns:
        if not isinstance(name, str):
            raise InvalidInput.of("data", name, "columns with names that are strings")
        found[name] = values
    return found


def array_of(values: Any) -> "npt.NDArray[Any]":
    """A column as an array: of objects where it is a list; where rows hold lists or arrays of one shape, of these
    stacked."""
    np = _numpy()
    if isinstance(values, list | tuple):
        array = np.empty(len(values), dtype=object)  # numpy would make one type of 39, True and "old"
        for row, value in enumerate(values):
            array[row] = value
    else:
        array = np.asarray(values)
    if array.dtype == object and len(array) and isinstance(array[0], np.ndarray | list | tuple):
        try:
            return np.stack([np.asarray(value) for value in array])  # type: ignore[no-any-return]
        except ValueError:
            return array  # type: ignore[no-any-return]
    return array  # type: ignore[no-any-return]


def _numpy() -> Any:
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise ChainruleError("this table needs numpy: pip install numpy") from error
    return numpy


def rows_of(data: Any) -> Iterable[Mapping[str, Any]]:
    """The rows of a table, as JSON has them; what is no table are rows already."""
    if not any(hasattr(data, name) for name in ("columns", "column_names", "keys", "__array__", "__arrow_c_stream__")):
        return data  # type: ignore[no-any-return]
    for name, values in data.items() if isinstance(data, Mapping) else ():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise InvalidInput.of(str(name), values, "a column's values, one for each row; a single row is [{…}]")
    columns = {name: array_of(values).tolist() for name, values in columns_of(data).items()}
    rows = zip(*columns.values(), strict=True)
    return (dict(zip(columns, map(_json_value, row), strict=True)) for row in rows)


def _json_value(value: Any) -> Any:
    """None for NaN and for what pandas has for a missing value."""
    return None if value is None or type(value).__name__ == "NAType" or value != value else value


# ---------------------------------------------------------------- to upload
def packed(columns: Mapping[str, Any], table: Any = None) -> tuple[bytes, str]:
    """The columns as the bytes of a file, and its suffix: the same for the same table.

    Parquet by pyarrow where it is installed, and by Polars for its own `table`; an npz file for arrays of more than one
    axis, and where there is no pyarrow. Raises ChainruleError for what only Parquet could hold.
    """
    buffer = io.BytesIO()
    if table is not None and hasattr(table, "write_parquet"):
        table.write_parquet(buffer)
        return buffer.getvalue(), ".parquet"
    if any(getattr(values, "ndim", 1) != 1 for values in columns.values()):
        return _npz(columns), ".npz"
    try:
        pa = _pyarrow()
    except ChainruleError:
        return _npz(columns), ".npz"
    import pyarrow.parquet as pq

    try:
        arrow = pa.table({name: _arrow(pa, values) for name, values in columns.items()})
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidInput.of("data", str(error), "columns of equal length, each of values of one type") from error
    pq.write_table(arrow, buffer)
    return buffer.getvalue(), ".parquet"


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ChainruleError("this table needs pyarrow: pip install pyarrow") from error
    return pyarrow


def _arrow(pa: Any, values: Any) -> Any:
    """A column as Arrow has it; NaN is a missing value."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if hasattr(values, "to_arrow"):  # of Polars
        return values.to_arrow()
    return pa.array(values, from_pandas=True)


def _npz(columns: Mapping[str, Any]) -> bytes:
    """An npz file. Raises ChainruleError for a column of objects: it has missing texts, or values of several types."""
    np = _numpy()
    arrays = {name: array_of(values) for name, values in columns.items()}
    for name, array in arrays.items():
        if array.dtype != object:
            continue
        if len(set(map(type, array))) > 1 or not isinstance(array[0], str | bool | int | float):
            raise ChainruleError(
                f"column {name!r} has missing or mixed values: pip install pyarrow, which can send them"
            )
        arrays[name] = np.array(array.tolist())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # numpy.savez does not take a column that is called `file`
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()
