"""Parquet files become typed tables, or are refused with the column and its type."""

import datetime
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.datasets import preview
from support.tables import ingest_bytes, refusal

PARQUET = "application/vnd.apache.parquet"


def parquet(columns: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ds_test"


def test_types_are_mapped(folder: Path) -> None:
    columns = {
        "int": pa.array([1, None, 3], pa.int8()),
        "float": pa.array([1.5, float("nan"), None], pa.float32()),
        "decimal": pa.array([Decimal("1.20"), None, None]),
        "string": ["x", "y", "y"],
        "dictionary": pa.array(["x", None, "z"]).dictionary_encode(),
        "zoned": pa.array([0, 1, 2], pa.timestamp("ns", tz="Europe/Berlin")),
        "date": [datetime.date(2026, 11, 23), None, None],
        "boolean": [True, False, None],
        "nothing": pa.nulls(3),
        "vector": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.uint8(), 2)),
        "matrix": pa.array([[[1.0, 2.0]]] * 3, pa.list_(pa.list_(pa.float32(), 2), 1)),
    }
    table = ingest_bytes(parquet(columns), folder, PARQUET)
    told = {column.name: (column.type, column.missing, column.shape, column.dtype) for column in table.columns}
    assert told == {
        "int": ("integer", 1, None, None),
        "float": ("number", 2, None, None),
        "decimal": ("number", 2, None, None),
        "string": ("category", 0, None, None),
        "dictionary": ("category", 1, None, None),
        "zoned": ("timestamp", 0, None, None),
        "date": ("timestamp", 2, None, None),
        "boolean": ("boolean", 1, None, None),
        "nothing": ("number", 3, None, None),
        "vector": ("tensor", 0, [2], "uint8"),
        "matrix": ("tensor", 0, [1, 2], "float32"),
    }
    first = preview(table, 1)[0]
    assert (first["decimal"], first["date"], first["matrix"]) == (1.2, "2026-11-23T00:00:00Z", [[1.0, 2.0]])


def test_types_can_be_asked_for(folder: Path) -> None:
    content = parquet({"zip": [2134, 2135], "n": ["1", "2"]})
    table = ingest_bytes(content, folder, PARQUET, types={"zip": "category", "n": "number"})
    assert preview(table, 1) == [{"zip": "2134", "n": 1.0}]
    assert refusal(content, folder, PARQUET, types={"zip": "tensor"}).field == "types.zip"


@pytest.mark.parametrize(
    "column",
    [
        [[1], [2, 3]],
        [b"bytes"],
        [{"a": 1}],
        [datetime.time(1)],
        pa.array([b"0" * 16], pa.uuid()),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 3, 4), np.float32)),
    ],
    ids=["list", "binary", "struct", "time", "uuid", "tensor extension"],
)
def test_other_types_are_refused_by_name(column: object, folder: Path) -> None:
    assert refusal(parquet({"bad": column}), folder, PARQUET).field == "column 'bad'"


class Harmful(pa.ExtensionType):
    """A type whose code would be run for a file that names it."""

    ran = False

    def __init__(self) -> None:
        super().__init__(pa.int64(), "chainrule.test.harmful")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: object, serialized: bytes) -> "Harmful":
        cls.ran = True
        return cls()


def test_the_code_of_an_extension_type_never_runs_as_none_is_registered(folder: Path) -> None:
    content = parquet({"bad": pa.ExtensionArray.from_storage(Harmful(), pa.array([1, 2]))})
    assert refusal(content, folder, PARQUET).got == "extension type chainrule.test.harmful"
    assert not Harmful.ran
    pa.register_extension_type(Harmful())
    try:
        pq.read_table(io.BytesIO(content))
    finally:
        pa.unregister_extension_type("chainrule.test.harmful")
    assert Harmful.ran


@pytest.mark.parametrize("values", [[[1.0, 2.0], None], [[1.0, 2.0], [1.0, None]], [[1.0, 2.0], [float("nan"), 1.0]]])
def test_a_tensor_without_a_number_is_named_by_its_row(values: list[object], folder: Path) -> None:
    content = parquet({"v": pa.array(values, pa.list_(pa.float64(), 2))})
    assert refusal(content, folder, PARQUET).field == "row 2, column 'v'"


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_infinite_number_is_named_by_its_row_and_not_taken_for_missing(value: float, folder: Path) -> None:
    error = refusal(parquet({"n": [None, float("nan"), 1.0, value]}), folder, PARQUET)
    assert (error.field, error.got) == ("row 4, column 'n'", value)


def test_an_integer_of_more_than_64_bits_is_refused(folder: Path) -> None:
    assert refusal(parquet({"n": pa.array([2**64 - 1], pa.uint64())}), folder, PARQUET).field == "column 'n'"


def of_one_text(rows: int, **options: Any) -> bytes:
    """A file of one column, all rows of which have the same text of 4 kB."""
    sink = io.BytesIO()
    codes = pa.array(np.zeros(rows, np.int32))
    pq.write_table(pa.table({"v": pa.DictionaryArray.from_arrays(codes, ["x" * 4_000])}), sink, **options)
    return sink.getvalue()


def test_numbers_that_expand_too_far_are_refused_before_they_are_unpacked(folder: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"v": pa.array(np.zeros(20_000_000, np.int8))}), sink)
    assert "160,000,000 bytes unpacked" in refusal(sink.getvalue(), folder, PARQUET).got


def test_texts_that_expand_too_far_are_refused_by_the_sizes_of_the_row_groups_before_they_are_unpacked(
    folder: Path,
) -> None:
    content = of_one_text(20_000, use_dictionary=False, compression="zstd", row_group_size=10_000)
    metadata = pq.read_metadata(io.BytesIO(content))
    unpacked = sum(metadata.row_group(group).total_byte_size for group in range(2))
    told = f"{unpacked:,} bytes unpacked from {len(content):,}"
    for types in ({}, {"v": "text"}, {"v": "category"}):
        assert refusal(content, folder, PARQUET, types=types).got == told


def test_a_text_of_a_dictionary_counts_for_each_row_that_it_is_written_to(folder: Path) -> None:
    content = of_one_text(20_000)
    assert pq.read_metadata(io.BytesIO(content)).row_group(0).total_byte_size < 1 << 20
    wrong = refusal(content, folder, PARQUET, types={"v": "text"})
    assert "bytes unpacked" in wrong.got
    assert "types=COLUMN:category" in wrong.expected


def test_a_long_text_that_repeats_is_a_category_and_kept_once(folder: Path) -> None:
    table = ingest_bytes(of_one_text(100_000), folder, PARQUET)
    assert (table.rows, table.columns[0].type, len(table.categories["v"][0])) == (100_000, "category", 4_000)
    assert Path(table.path).stat().st_size < 1 << 20


def test_a_preview_of_long_texts_has_fewer_rows_and_reads_no_more_of_the_file(folder: Path) -> None:
    text = pa.array([f"{row:05}" * 4_000 for row in range(10_000)])  # 200 MB
    table = ingest_bytes(parquet({"note": text, "a": np.arange(10_000)}), folder, PARQUET, types={"note": "text"})
    rows = preview(table, 10_000)
    assert 60 << 20 < sum(len(row["note"]) for row in rows) <= 64 << 20
    assert [row["a"] for row in rows] == list(range(len(rows)))
    assert len(preview(table, 20)) == 20
    with pa.OSFile(table.path) as file:
        assert pa.ipc.open_file(file).get_batch(0).nbytes < 17 << 20


def test_a_preview_of_a_row_that_is_too_long_has_that_row(folder: Path) -> None:
    long = parquet({"long": ["x" * (65 << 20), "y"], "a": [1, 2]})
    table = ingest_bytes(long, folder, PARQUET, types={"long": "text"})
    assert len(preview(table, 2)) == 1


@pytest.mark.parametrize(("name", "told"), [("a\0b", "without NUL"), ("", "1 to 200"), ("a" * 201, "1 to 200")])
def test_a_column_name_that_no_job_could_name_is_refused(name: str, told: str, folder: Path) -> None:
    wrong = refusal(parquet({"y": [1, 2], name: [1, 2]}), folder, PARQUET)
    assert (wrong.field, wrong.got) == ("column 2", name)
    assert told in wrong.expected


def test_a_column_name_that_is_not_utf_8_is_refused(folder: Path) -> None:
    content = parquet({"name": [1, 2]}).replace(b"name", b"nam\xff")
    assert refusal(content, folder, PARQUET).field == "body"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", parquet({"a": [1, 2]})[:-20]])
def test_what_is_no_whole_parquet_file_is_refused(content: bytes, folder: Path) -> None:
    assert refusal(content, folder, PARQUET).field == "body"


def test_no_rows_and_options_for_csv_are_refused(folder: Path) -> None:
    assert refusal(parquet({"a": pa.array([], pa.int8())}), folder, PARQUET).got == "no rows"
    assert refusal(parquet({"a": [1]}), folder, PARQUET, header=True).field == "header"
