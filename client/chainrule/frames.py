"""Records as a table of the library that the user has."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

__all__ = ["frame"]


def frame(records: Sequence[dict[str, Any]]) -> Any:
    """A pandas frame where pandas is installed, else a Polars frame where that is, else the list of records."""
    if find_spec("pandas"):
        import pandas

        return pandas.DataFrame.from_records(records)
    if find_spec("polars"):
        import polars

        return polars.from_dicts(records, infer_schema_length=None) if records else polars.DataFrame()
    return list(records)
