"""CSV files become typed tables, or are refused with row, column and cell."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.datasets import ReadOptions, ingest, preview
from service.ingest.csv_dialect import MAX_ROW_BYTES
from service.ingest.csv_quotes import BLOCK_BYTES
from shared.table import Column
from support.checkpoints import SmallDisk
from support.tables import ingest_bytes, refusal


def column(content: str, folder: Path, **options: object) -> Column:
    """The profile of the first column."""
    return ingest_bytes(content, folder, **options).columns[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ds_test"


def test_a_table_that_would_take_what_is_reserved_of_the_disk_is_not_written(tmp_path: Path) -> None:
    source, folder = tmp_path / "upload", tmp_path / "ds_test"
    source.write_text("a\n" + "1\n" * 100)
    folder.mkdir()
    rest: Any = ReadOptions(), folder, "ds_test", "0" * 64
    with pytest.raises(OSError, match="No space left on device"):
        ingest(source, "text/csv", *rest, SmallDisk(100 * 8 - 1))
    assert list(folder.iterdir()) == []
    assert ingest(source, "text/csv", *rest, SmallDisk(100 * 8)).rows == 100


# ---------------------------------------------------------------- types
@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "007"], "integer"),
        (["1", "2.5", "1e3"], "number"),
        (["1", "99999999999999999999"], "number"),
        (["true", "FALSE"], "boolean"),
        (["0", "1"], "integer"),
        (["2026-11-23", "2026-11-23T01:02:03Z", "2026-11-23 01:02:03.5+02:00"], "timestamp"),
        (["a", "b"], "category"),
        (["1", "x"], "category"),
        (["true", "1"], "category"),
        (["1", "inf"], "category"),
        (["1", "1e400"], "category"),
        (["?", "", " NA "], "number"),
    ],
)
def test_types_are_inferred(cells: list[str], kind: str, folder: Path) -> None:
    rows = "".join(f"{cell},0\n" for cell in cells)
    assert column(f"a,b\n{rows}", folder).type == kind


def test_the_last_row_decides_as_much_as_the_first(folder: Path) -> None:
    rows = MAX_ROW_BYTES // 4
    table = ingest_bytes("a,b\n" + "1,2\n" * rows + "x,2.5\n", folder)
    assert [(column.type, column.distinct) for column in table.columns] == [("category", 2), ("number", None)]
    assert table.categories["a"] == ["1", "x"]
    assert table.rows == rows + 1


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["1", "2.5", "oops", "inf"], "read as category: row 3 has 'oops'; give types=a:number to have it refused"),
        (["1", "inf", "2"], "read as category: row 2 has 'inf'; give types=a:number to have it refused"),
        (["oops", "?", "1", "2"], "read as category: row 1 has 'oops'; give types=a:number to have it refused"),
        (["1", "2.5", "?"], None),
        (["a", "b", "1"], None),
        (["2026-01-01", "x"], None),
        (["true", "1"], None),
    ],
)
def test_a_column_of_numbers_but_for_a_cell_says_so(cells: list[str], note: str | None, folder: Path) -> None:
    rows = "".join(f"{cell},x\n" for cell in cells)
    assert [column.note for column in ingest_bytes(f"a,b\n{rows}", folder).columns] == [note, None]


def test_many_numbers_but_for_a_cell_far_down_say_so_as_text(folder: Path) -> None:
    rows = MAX_ROW_BYTES // 4
    profile = column("a,b\n" + "".join(f"{row},1\n" for row in range(rows)) + "oops,2\n", folder)
    assert (profile.type, profile.note) == (
        "text",
        f"read as text: row {rows + 1} has 'oops'; give types=a:number to have it refused",
    )


def test_a_type_that_was_asked_for_is_not_remarked_on(folder: Path) -> None:
    assert column("a,b\n1,2\n2,3\noops,4\n", folder, types={"a": "category"}).note is None


@pytest.mark.parametrize("cell", ["", "?", "NA", "NaN", "null", "  ", " ? "])
def test_missing_cells_are_null(cell: str, folder: Path) -> None:
    table = ingest_bytes(f"a,b\n1,x\n{cell},{cell}\n3,y\n", folder)
    assert [column.missing for column in table.columns] == [1, 1]
    assert preview(table, 3)[1] == {"a": None, "b": None}


def test_a_user_can_name_more_missing_cells(folder: Path) -> None:
    profile = column("a,b\n1,x\n-999,x\n3,x\n", folder, missing=["-999"])
    assert (profile.type, profile.missing, profile.min, profile.max, profile.mean) == ("integer", 1, 1, 3, 2.0)


def test_many_different_texts_are_text(folder: Path) -> None:
    few = column("a,b\n" + "".join(f"k{row % 1000},0\n" for row in range(3000)), folder)
    assert (few.type, few.distinct) == ("category", 1000)
    many = column("a,b\n" + "".join(f"k{row % 1001},0\n" for row in range(3000)), folder)
    assert (many.type, many.distinct) == ("text", 1001)
    nearly_all = column("a,b\n" + "".join(f"k{row},0\n" for row in range(200)), folder)
    assert nearly_all.type == "text"


def test_types_can_be_asked_for(folder: Path) -> None:
    types = {"zip": "category", "note": "text", "flag": "boolean", "n": "number"}
    table = ingest_bytes("zip,note,flag,n\n02134,a,1,1\n02134,b,0,2\n", folder, types=types)
    assert {column.name: column.type for column in table.columns} == types
    assert preview(table, 1) == [{"zip": "02134", "note": "a", "flag": True, "n": 1.0}]


def test_a_cell_that_does_not_fit_the_type_asked_for_is_named(folder: Path) -> None:
    error = refusal("a,b\n1,2\n3,x7\n4,y\n", folder, types={"b": "integer"})
    assert (error.field, error.got) == ("row 2 (line 3), column 'b'", "x7")


def test_of_mistakes_in_several_columns_the_first_columns_is_named(folder: Path) -> None:
    rows = "1,2,3\n" * 1000
    error = refusal(f"a,b,c\n{rows}1,x,y\n1,2,z\n", folder, types={"b": "integer", "c": "integer"})
    assert error.field == "row 1001 (line 1002), column 'b'"


@pytest.mark.parametrize(("kind", "cell"), [("number", "inf"), ("boolean", "2"), ("timestamp", "yesterday")])
def test_what_does_not_fit_is_refused(kind: str, cell: str, folder: Path) -> None:
    assert refusal(f"a,b\n?,2\n{cell},3\n", folder, types={"a": kind}).got == cell


@pytest.mark.parametrize(
    "cells",
    [
        ["2026-11-23T10:00:00", "2026-11-23 12:30"],
        ["2026-11-23T12:00:00+02:00", "2026-11-23T12:30:00Z"],
        ["2026-11-23T10:00:00", "2026-11-23T07:30:00-05"],
    ],
)
def test_timestamps_are_in_utc_where_no_offset_says_otherwise(cells: list[str], folder: Path) -> None:
    table = ingest_bytes(f"a,b\n{cells[0]},1\n?,2\n{cells[1]},3\n", folder)
    moments = [row["a"] for row in preview(table, 3)]
    assert moments == ["2026-11-23T10:00:00Z", None, "2026-11-23T12:30:00Z"]


def test_rows_keep_their_order_over_many_blocks(folder: Path) -> None:
    rows = 3 * MAX_ROW_BYTES // 16
    table = ingest_bytes("a,b\n" + "".join(f"{row},text {row % 7}\n" for row in range(rows)), folder)
    with pa.memory_map(table.path) as file:
        written = pa.ipc.open_file(file).read_all()
        assert written.column("a").to_numpy().tolist() == list(range(rows))
        assert written.column("b").to_numpy().tolist() == [row % 7 for row in range(rows)]


def test_a_table_of_many_columns_is_read_like_one_of_few(folder: Path) -> None:
    row = ",".join(f"{number}.5,x" for number in range(100))
    table = ingest_bytes(f"{','.join(f'c{number}' for number in range(200))}\n{row}\n{row}\n", folder)
    assert [column.type for column in table.columns] == ["number", "category"] * 100
    assert list(preview(table, 2)[1].values())[:4] == [0.5, "x", 1.5, "x"]


def test_the_profile_tells_what_is_in_a_column(folder: Path) -> None:
    table = ingest_bytes("age,job,when,ok\n20,x,2026-01-01,true\n40,y,2027-01-01,true\n30,y,?,false\n", folder)
    age, job, when, ok = table.columns
    assert (age.min, age.max, age.mean) == (20, 40, 30.0)
    assert (job.distinct, job.most_common) == (2, ["y", "x"])
    assert (when.missing, when.min, when.max) == (1, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert (ok.distinct, ok.mean) == (2, pytest.approx(2 / 3))


# ---------------------------------------------------------------- how the file is written
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str, folder: Path) -> None:
    table = ingest_bytes(f"a{delimiter}b\n1{delimiter}2\n", folder)
    assert [column.name for column in table.columns] == ["a", "b"]


def test_a_decimal_comma_does_not_hide_the_semicolon(folder: Path) -> None:
    assert len(ingest_bytes("a;b;c\n1,5;2;x\n1,7;3;y\n", folder).columns) == 3


def test_a_first_row_of_numbers_is_no_header(folder: Path) -> None:
    table = ingest_bytes("1,2\n3,4\n", folder)
    assert (table.rows, [column.name for column in table.columns]) == (2, ["c0", "c1"])
    assert ingest_bytes("1,2\n3,4\n", folder, header=True).rows == 1
    assert ingest_bytes("a,b\n3,4\n", folder, header=False).rows == 2


def test_quotes_newlines_a_mark_and_crlf_are_fine(folder: Path) -> None:
    table = ingest_bytes('\ufeffname,"say ""hi"""\r\n"two\r\nlines","a,b"\r\n\r\nz,""\r\n', folder)
    assert preview(table, 9) == [
        {"name": "two\r\nlines", 'say "hi"': "a,b"},
        {"name": "z", 'say "hi"': None},
    ]


def test_a_quote_within_a_cell_that_begins_with_none_is_text(folder: Path) -> None:
    table = ingest_bytes('a,b\n5" pipe,"x" \n"7"" pipe","y\n"\n  "z",\n', folder)
    assert preview(table, 9) == [{"a": '5" pipe', "b": "x"}, {"a": '7" pipe', "b": "y"}, {"a": '"z"', "b": None}]


def test_a_space_that_delimits_is_not_taken_for_one_that_does_not_count(folder: Path) -> None:
    table = ingest_bytes('a b\n5" "x y"\n', folder, delimiter=" ")
    assert preview(table, 1) == [{"a": '5"', "b": "x y"}]


def test_quotes_are_followed_from_block_to_block(folder: Path) -> None:
    rows = BLOCK_BYTES // 8
    content = "a,b\n" + '"x,\n",1\n' * rows
    assert ingest_bytes(content, folder).rows == rows
    error = refusal(content + '"x,"y,1\n', folder)
    assert (error.field, error.got) == (f"row {rows + 1} (line {2 * rows + 2}), column 'a'", '"x,"y')


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("content", "field", "got"),
    [
        ("a,b\n1,2\n3\n", "row 2 (line 3)", "1 cells: 3"),
        ('a,b\n"x\ny",2\n\n3,4,5\n', "row 2 (line 5)", "3 cells: 3,4,5"),
        ("1,2\n3\n", "row 2 (line 2)", "1 cells: 3"),
        (b"a,b\n1,2\n3,\xff\n", "row 2 (line 3), column 'b'", "b'\\xff'"),
        (b"a,b\n1,2\n3,\xff,5\n", "row 2 (line 3)", "3 cells: 3,\ufffd,5"),
        (b"a,\xff\n1,2\n", "the first row, cell 2", "b'\\xff'"),
        (b"a,b\n1,2\n3,\x00\n", "line 3", "a NUL byte"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1", "a NUL byte"),
        ('a,b\n1,2\n3,"x\n4,y\n', "row 2 (line 3), column 'b'", "x\n4,y\n"),
        ('a,b\n1,2\n\n"ab"c,3\n', "row 2 (line 4), column 'a'", '"ab"c'),
        ('a,b\r\n1,""x\r\n', "row 1 (line 2), column 'b'", '""x'),
        ('a,b\n1,"a,"c\n', "row 1 (line 2), column 'b'", '"a,"c'),
        ('a,b\n"two\nlines","say ""hi"""x\n', "row 1 (line 2), column 'b'", '"say ""hi"""x'),
        ('a,b\n5" pipe,","b"c\n', "row 1 (line 2), column 'b'", '","b"c'),
        ('a;b\n1;"x"y', "row 1 (line 2), column 'b'", '"x"y'),
        ('\ufeff"a"x,b\n1,2\n', "the first row, cell 1", '"a"x'),
        ("a,a\n1,2\n", "column 2", "a"),
        ("a,\n1,2\n", "column 2", ""),
        ("a,b\n", "body", "a header alone"),
        ("a", "body", "a header alone"),
        ("", "body", "no rows"),
        ("\n\n", "body", "no rows"),
    ],
)
def test_a_mistake_is_named_by_its_row(content: bytes | str, field: str, got: str, folder: Path) -> None:
    error = refusal(content, folder)
    assert (error.field, error.got) == (field, got)


def test_a_ragged_row_far_down_is_named_too(folder: Path) -> None:
    rows = MAX_ROW_BYTES // 4 + 10
    error = refusal("a,b\n" + "1,2\n" * rows + "1\n", folder)
    assert error.field in (f"row {rows + 1}", f"row {rows + 1} (line {rows + 2})")


def test_a_row_that_is_too_long_is_refused(folder: Path) -> None:
    error = refusal("a,b\n1,2\n3," + "x" * 100_000_000 + "\n", folder)
    assert error.got == "a row of more than 4 MiB"


@pytest.mark.parametrize("seed", range(5))
def test_rubbish_is_refused(seed: int, folder: Path) -> None:
    rubbish = np.random.default_rng(seed).bytes(100_000)
    assert refusal(rubbish, folder).got == "a NUL byte"
    assert refusal(rubbish.replace(b"\0", b"x"), folder)


def test_too_many_columns_are_refused(folder: Path) -> None:
    header = ",".join(f"c{number}" for number in range(10_001))
    assert refusal(f"{header}\n", folder).got == "10,001 columns"
    assert refusal("," * (10**6 - 1) + "\n", folder).got == "1,000,000 columns"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"delimiter": "::"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"types": {"zzz": "number"}}, "types.zzz"),
        ({"types": {"a": "tensor"}}, "types.a"),
    ],
)
def test_options_that_cannot_be_followed_are_named(options: dict[str, object], field: str, folder: Path) -> None:
    assert refusal("a,b\n1,2\n", folder, **options).field == field


def test_too_many_categories_are_refused_where_they_were_asked_for(folder: Path) -> None:
    rows = "".join(f"k{row},0\n" for row in range(100_001))
    assert refusal(f"a,b\n{rows}", folder, types={"a": "category"}).field == "types.a"
