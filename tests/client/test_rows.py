"""Cells of a CSV file become the JSON values that a model takes."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from chainrule import InvalidFile, InvalidInput
from chainrule.rows import read_rows
from chainrule.tables import rows_of


def one(folder: Path, cell: str, kind: str) -> Any:
    path = folder / "rows.csv"
    path.write_text(f'other,x\n1,"{cell}"\n')
    return next(read_rows(path, {"x": kind}))["x"]


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("39", "integer", 39),
        ("39.0", "integer", 39),
        ("-1e3", "integer", -1000),
        ("9007199254740993", "integer", 9007199254740993),
        (" 1.5 ", "number", 1.5),
        ("3", "number", 3.0),
        ("True", "boolean", True),
        ("false", "boolean", False),
        ("1", "boolean", True),
        (" Private ", "category", "Private"),
        ("State-gov", "category", "State-gov"),
        ("7", "category", "7"),
        ("?", "category", None),
        ("", "integer", None),
        ("NA", "number", None),
        ("NaN", "number", None),
        ("null", "boolean", None),
        ("[[1, 2], [3, 4]]", "tensor", [[1, 2], [3, 4]]),
    ],
)
def test_a_cell_becomes_a_value_of_its_column_type(tmp_path: Path, cell: str, kind: str, value: Any) -> None:
    read = one(tmp_path, cell, kind)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [
        ("old", "integer", "an integer"),
        ("1_000", "integer", "an integer"),
        ("inf", "number", "a number"),
        ("1,5", "number", "a number"),
        ("yes", "boolean", "true or false"),
        ("[1, 2", "tensor", "a JSON array of numbers"),
        ("5", "tensor", "a JSON array of numbers"),
    ],
)
def test_a_wrong_cell_is_refused_with_line_and_column(tmp_path: Path, cell: str, kind: str, expected: str) -> None:
    with pytest.raises(InvalidFile, match=r"rows\.csv, line 2, column x: got .*, expected") as refused:
        one(tmp_path, cell, kind)
    assert str(refused.value).endswith(expected)


def test_columns_that_the_model_lacks_are_left_out_and_order_is_the_models(tmp_path: Path, people: Path) -> None:
    rows = list(read_rows(people, {"workclass": "category", "age": "integer"}))
    assert rows == [
        {"workclass": "State-gov", "age": 39},
        {"workclass": "Private", "age": None},
        {"workclass": None, "age": 52},
    ]
    assert list(rows[0]) == ["workclass", "age"]


def test_a_gzipped_file_a_byte_order_mark_and_other_delimiters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress("\ufeffx;y\r\n1;-999\r\n".encode()))
    assert list(read_rows(path, {"x": "integer", "y": "integer"}, delimiter=";", missing={"-999"})) == [
        {"x": 1, "y": None}
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"x\n1\n2,3\n", "line 3: got 2 cells, expected 1"),
        (b"y\n1\n", "the column x is missing; the model needs the columns x"),
        (b"x\n\xff\n", "cannot be read as CSV"),
        (b'x\n"1\n', "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=r"rows\.csv") as refused:
        list(read_rows(path, {"x": "integer"}))
    assert message in str(refused.value)


def test_a_file_that_is_not_there_or_not_gzip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="No such file"):
        list(read_rows(tmp_path / "nowhere.csv", {}))
    (tmp_path / "rows.csv.gz").write_bytes(b"x\n1\n")
    with pytest.raises(InvalidFile, match="cannot be read"):
        list(read_rows(tmp_path / "rows.csv.gz", {}))


@pytest.mark.parametrize("row", [{"age": 39}, {"word": "hello"}, {"age": [39], "word": None}], ids=str)
def test_a_single_row_is_not_taken_for_columns(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="a single row is"):
        rows_of(row)
