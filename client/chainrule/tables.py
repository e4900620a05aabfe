"""Tables as users have them: of pandas, Polars or Arrow, dictionaries of columns, lists of rows, numpy arrays.

None of these libraries is imported here unless the user's table is one of it. Tables are known by what they can do:
those with `columns` (or Arrow's `column_names`) give a column by its name, and numpy makes an array of a column.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError, InvalidInput

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["X", "array_of", "columns_of", "is_category", "is_missing", "rows_of", "text_of"]

X = "x"
"""The column that the rows of a numpy array become."""


def columns_of(data: Any) -> dict[str, Any]:
    """The columns by name, each as the library has it. Raises InvalidInput for what is no table."""
    kind = type(data)  # of the table itself, as pandas has a column that is called `collect` as an attribute too
    if hasattr(kind, "collect"):
        raise InvalidInput.of("data", kind.__name__, "a table that has been computed: collect() it")
    listed = next((name for name in ("column_names", "columns") if hasattr(kind, name)), None)
    if listed is not None and not callable(names := getattr(data, listed)):
        return _named(names, lambda name: data[name])
    if isinstance(data, Mapping):
        return _of_equal_length(_named(data, lambda name: data[name]))
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        found = dict.fromkeys(name for row in data for name in row)
        return _named(found, lambda name: [row.get(name) for row in data])
    if hasattr(data, "__array__") and (dtype := getattr(data, "dtype", None)) is not None:
        names = getattr(dtype, "names", None)
        return {name: data[name] for name in names} if names else {X: data}
    if hasattr(data, "__arrow_c_stream__"):
        return columns_of(_pyarrow().table(data))
    raise InvalidInput.of("data", kind.__name__, "a table, a dictionary of columns, rows, or a numpy array")


def _named(names: Iterable[Any], column: Callable[[str], Any]) -> dict[str, Any]:
    names = list(names)
    for name, times in Counter(names).items():
        if not isinstance(name, str):
            raise InvalidInput.of("data", name, "columns with names that are strings")
        if times > 1:  # pandas would give a table for it, and Arrow nothing
            raise InvalidInput.of("data", f"{times} columns {name!r}", "columns of different names")
    return {name: column(name) for name in names}


def _of_equal_length(columns: dict[str, Any]) -> dict[str, Any]:
    lengths: dict[str, int] = {}
    for name, values in columns.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
            raise InvalidInput.of(name, values, "a column's values, one for each row; a single row is [{…}]")
        lengths[name] = len(values)
        first, rows = next(iter(lengths.items()))
        if len(values) != rows:
            raise InvalidInput.of(name, f"{len(values):,} rows", f"columns of equal length: {first!r} has {rows:,}")
    return columns


def array_of(values: Any) -> "npt.NDArray[Any]":
    """A column as an array: of objects where it is a list; where rows hold lists or arrays of one shape, of these
    stacked; of categories, of their texts."""
    np = _numpy()
    if is_category(values):
        return _texts(values)
    if isinstance(values, list | tuple):
        array = np.empty(len(values), dtype=object)  # numpy would make one type of 39, True and "old"
        for row, value in enumerate(values):
            array[row] = value
    else:
        array = np.asarray(values)
    while array.dtype == object and array.size and isinstance(array.flat[0], np.ndarray | list | tuple):
        try:
            cells = np.stack([np.asarray(value) for value in array.flat])
        except ValueError:
            break
        array = cells.reshape(array.shape + cells.shape[1:])
    return array  # type: ignore[no-any-return]


# ---------------------------------------------------------------- categories
CATEGORIES = ("CategoricalDtype", "Categorical", "Enum", "DictionaryType")


def is_category(values: Any) -> bool:
    """Whether the column's own type says that it holds categories: pandas', Polars' and Arrow's types do."""
    return type(getattr(values, "dtype", getattr(values, "type", None))).__name__ in CATEGORIES


def _texts(values: Any) -> "npt.NDArray[Any]":
    """Categories row by row, as texts: those of 1, 2 and 3 are no numbers."""
    np = _numpy()
    if hasattr(getattr(values, "dtype", None), "ordered"):  # of pandas, whose code of a missing one is -1
        texts = [*map(text_of, values.dtype.categories.tolist()), None]
        return np.array(texts, dtype=object)[np.asarray(getattr(values, "cat", values).codes)]  # type: ignore[no-any-return]
    cells = values.to_pylist() if hasattr(values, "to_pylist") else values.to_list()
    return np.array([*map(text_of, cells)], dtype=object)  # type: ignore[no-any-return]


def text_of(category: Any) -> str | None:
    """A category as text, the same with and without missing ones beside it."""
    if isinstance(category, float) and category.is_integer():
        category = int(category)  # a float where another row has no value
    return None if is_missing(category) else str(category)


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or what pandas has for a missing value, which has no truth value."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return not hasattr(value, "__len__") and bool(value != value)


def _numpy() -> Any:
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise ChainruleError("this table needs numpy: pip install numpy") from error
    return numpy


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ChainruleError("this table needs pyarrow: pip install pyarrow") from error
    return pyarrow


# ---------------------------------------------------------------- to predict
def rows_of(data: Any) -> Iterable[Mapping[str, Any]]:
    """The rows of a table, as JSON has them; what is no table are rows already."""
    if not any(hasattr(data, name) for name in ("columns", "column_names", "keys", "__array__", "__arrow_c_stream__")):
        return data  # type: ignore[no-any-return]
    columns = {name: array_of(values).tolist() for name, values in columns_of(data).items()}
    rows = zip(*columns.values(), strict=True)
    return (dict(zip(columns, map(_json_value, row), strict=True)) for row in rows)


def _json_value(value: Any) -> Any:
    return None if is_missing(value) else value
