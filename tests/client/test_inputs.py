"""Columns become a network's inputs here as they do on the service; what the two give is compared end to end."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest

from chainrule import InvalidInput
from chainrule.inputs import encode

CATEGORY = {"name": "colour", "type": "category", "categories": ["blue", "red"], "width": 3, "missing_category": True}
NUMBER = {"name": "size", "type": "number", "fill": 4.0, "width": 1}


@pytest.mark.parametrize("convert", [False, True])
def test_what_pandas_has_for_a_missing_value_is_missing(convert: bool) -> None:
    frame = pandas.DataFrame({"colour": ["red", None, "blue"], "size": [1.5, None, 2.0]})
    table = frame.convert_dtypes() if convert else frame  # then it is pandas.NA, which is neither true nor false
    features = [{**each, "mean": 0.0, "scale": 1.0} for each in (CATEGORY, NUMBER)]
    np.testing.assert_array_equal(encode(table, features), [[0, 1, 0, 1.5], [0, 0, 1, 4.0], [1, 0, 0, 2.0]])


def test_a_decimal_is_a_number() -> None:
    feature = {**NUMBER, "mean": 0.0, "scale": 1.0}
    decimals = [Decimal("1.5"), None, Decimal("NaN")]
    for table in ({"size": decimals}, pandas.DataFrame({"size": decimals}), pa.table({"size": decimals[:2]})):
        np.testing.assert_array_equal(encode(table, [feature])[:, 0], [1.5, 4.0, 4.0][: len(table["size"])])


@pytest.mark.parametrize("values", [pandas.Categorical([7, None]), pa.array([7, None]).dictionary_encode()])
def test_categories_that_are_numbers_are_found_by_their_texts(values: Any) -> None:
    feature = CATEGORY | {"categories": ["7", "8"]}
    np.testing.assert_array_equal(encode({"colour": values}, [feature]), [[1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("data", "field"), [({"size": 39}, "size"), ({"size": [1.0, 2.0], "colour": ["red"]}, "colour")]
)
def test_what_are_no_columns_is_said(data: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        encode(data, [{**NUMBER, "mean": 0.0, "scale": 1.0}])
    assert [problem.field for problem in wrong.value.fields] == [field]
