"""Columns become a network's inputs here as they do on the service; what the two give is compared end to end."""

import numpy as np
import pandas
import pytest

from chainrule.inputs import encode

CATEGORY = {"name": "colour", "type": "category", "categories": ["blue", "red"], "width": 3, "missing_category": True}
NUMBER = {"name": "size", "type": "number", "fill": 4.0, "width": 1}


@pytest.mark.parametrize("convert", [False, True])
def test_what_pandas_has_for_a_missing_value_is_missing(convert: bool) -> None:
    frame = pandas.DataFrame({"colour": ["red", None, "blue"], "size": [1.5, None, 2.0]})
    table = frame.convert_dtypes() if convert else frame  # then it is pandas.NA, which is neither true nor false
    features = [{**each, "mean": 0.0, "scale": 1.0} for each in (CATEGORY, NUMBER)]
    np.testing.assert_array_equal(encode(table, features), [[0, 1, 0, 1.5], [0, 0, 1, 4.0], [1, 0, 0, 2.0]])
