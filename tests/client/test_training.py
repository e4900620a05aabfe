"""`train` takes a table as users have it, uploads it once, and says at once what cannot be."""

import gzip
import io
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule import ChainruleError, Client, InvalidFile, InvalidInput
from chainrule.packing import packed
from chainrule.tables import array_of, columns_of, rows_of
from chainrule.training import Source
from support.fake_service import FakeService

COLUMNS: dict[str, list[Any]] = {"age": [39, 50, None], "workclass": ["State-gov", None, "007"], "income": [0, 1, 1]}
TABLES = {
    "pandas": lambda: pandas.DataFrame(COLUMNS),
    "polars": lambda: polars.DataFrame(COLUMNS),
    "arrow": lambda: pa.table(COLUMNS),
    "dictionary": lambda: dict(COLUMNS),
    "rows": lambda: pa.table(COLUMNS).to_pylist(),
}


def uploaded(service: FakeService) -> bytes:
    """The body of the only upload."""
    (body,) = [one.content for one in service.requests if (one.method, one.url.path) == ("POST", "/v1/datasets")]
    return bytes(body)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_any_library_arrives_with_its_values_and_types(
    service: FakeService, client: Client, kind: str
) -> None:
    client.train(TABLES[kind](), target="income", layers=[8], epochs=3)
    arrived = pq.read_table(io.BytesIO(uploaded(service))).to_pydict()
    assert arrived["workclass"] == COLUMNS["workclass"]
    assert arrived["age"] == COLUMNS["age"]
    spec = service.jobs["job_01"]["spec"]
    assert (spec["target"], spec["layers"], spec["epochs"]) == ("income", [{"type": "dense", "units": 8}], 3)


def test_images_and_labels_become_a_tensor_and_a_column(service: FakeService, client: Client) -> None:
    images, labels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4), np.array(["a", "b"], dtype=object)
    client.train(images, labels, layers=[{"type": "dense", "units": 2}, {"type": "dropout", "rate": 0.5}])
    arrived = np.load(io.BytesIO(uploaded(service)))
    np.testing.assert_array_equal(arrived["x"], images)
    assert arrived["y"].tolist() == ["a", "b"]
    assert service.jobs["job_01"]["spec"]["target"] == "y"


def arrived(service: FakeService) -> pa.Table:
    return pq.read_table(io.BytesIO(uploaded(service)))


MISSING = {
    "text": ["Paris", None],
    "bool": [True, None],
    "date": pandas.Series(["2026-01-01", None], dtype="datetime64[us]"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_a_missing_value_may_stand_beside_a_tensor(service: FakeService, client: Client, kind: str) -> None:
    images = np.arange(2 * 3 * 4, dtype=">f4").reshape(2, 3, 4)
    client.train({"image": images, "other": MISSING[kind]}, [0, 1])
    table = arrived(service)
    assert str(table.schema.field("image").type) == "fixed_size_list<element: fixed_size_list<element: float>[4]>[3]"
    assert table["image"].to_pylist() == images.tolist()
    assert table["other"].null_count == 1


CELLS = {
    "rows": lambda cells: [{"v": cell, "y": 0} for cell in cells],
    "columns": lambda cells: {"v": cells, "y": [0] * len(cells)},
    "pandas": lambda cells: pandas.DataFrame({"v": cells, "y": 0}),
    "arrays": lambda cells: pandas.DataFrame({"v": [np.array(cell) for cell in cells], "y": 0}),
    "polars": lambda cells: polars.DataFrame({"v": cells, "y": [0] * len(cells)}),
    "arrow": lambda cells: pa.table({"v": cells, "y": [0] * len(cells)}),
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("cells", [[[1, 2, 3], [4, 5, 6]], [[[1, 2, 3], [4, 5, 6]]]], ids=["vectors", "matrices"])
def test_lists_of_one_shape_are_a_tensor(
    service: FakeService, client: Client, kind: str, cells: list[list[Any]]
) -> None:
    client.train(CELLS[kind](cells), target="y")
    v = arrived(service)["v"]
    assert pa.types.is_fixed_size_list(v.type)
    assert v.to_pylist() == cells
    assert array_of(columns_of(CELLS[kind](cells))["v"]).tolist() == cells


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("cells", [[[1, 2], [3]], [[[1, 2], [3]], [[1, 2], [3]]]], ids=["vectors", "matrices"])
def test_lists_of_several_lengths_are_said_with_their_column(client: Client, kind: str, cells: list[list[Any]]) -> None:
    if kind == "arrays" and isinstance(cells[0][1], list):
        return  # numpy makes no array of such a cell
    with pytest.raises(InvalidInput, match=r"^v: got lists of several lengths, or a missing one, expected") as wrong:
        client.train(CELLS[kind](cells), target="y")
    assert [problem.field for problem in wrong.value.fields] == ["v"]


def test_a_tensor_of_zeros_is_not_packed_so_much_that_it_looks_like_an_attack() -> None:
    content, _ = packed({"x": np.zeros((100_000, 100)), "city": [None] * 100_000})
    assert 250 * len(content) > 100_000 * 100 * 8


@pytest.mark.parametrize(
    ("y", "name"),
    [
        (np.array([[0], [1], [1]]), "y"),
        (pandas.DataFrame({"wage": [0, 1, 1]}), "wage"),
        (pandas.DataFrame({"name": [0, 1, 1]}), "name"),
        (polars.DataFrame({"wage": [0, 1, 1]}), "wage"),
        (pa.table({"wage": [0, 1, 1]}), "wage"),
    ],
)
def test_a_target_of_one_column_is_no_tensor(service: FakeService, client: Client, y: Any, name: str) -> None:
    client.train(pandas.DataFrame(COLUMNS), y)
    assert arrived(service)[name].to_pylist() == [0, 1, 1]
    assert service.jobs["job_01"]["spec"]["target"] == name


DIGITS = [7, None, 8, 7]
NUMBERED = {
    "pandas": lambda: pandas.DataFrame({"digit": pandas.array(DIGITS, "Int64")}).astype("category"),
    "floats": lambda: pandas.DataFrame({"digit": DIGITS}).astype("category"),
    "arrow": lambda: pa.table({"digit": pa.array(DIGITS).dictionary_encode()}),
    "Categorical": lambda: {"digit": pandas.Categorical(DIGITS, categories=[8, 7])},
    "polars": lambda: polars.DataFrame({"digit": ["7", None, "8", "7"]}, schema={"digit": polars.Categorical}),
    "Enum": lambda: polars.DataFrame({"digit": ["7", None, "8", "7"]}, schema={"digit": polars.Enum(["7", "8"])}),
}


@pytest.mark.parametrize("kind", NUMBERED)
def test_categories_that_are_numbers_are_no_numbers(service: FakeService, client: Client, kind: str) -> None:
    client.train(NUMBERED[kind](), target="digit")
    texts = ["7", None, "8", "7"]
    assert arrived(service)["digit"].to_pylist() == texts
    (upload,) = [one for one in service.requests if (one.method, one.url.path) == ("POST", "/v1/datasets")]
    assert upload.url.params["types"] == "digit:category"
    assert [row["digit"] for row in rows_of(NUMBERED[kind]())] == texts


def test_intervals_are_categories(service: FakeService, client: Client) -> None:
    client.train({"age": pandas.cut(pandas.Series([1, 9]), [0, 5, 10])}, [0, 1])
    assert arrived(service)["age"].to_pylist() == ["(0, 5]", "(5, 10]"]


def test_a_table_with_other_types_is_another_table(client: Client) -> None:
    texts = pandas.DataFrame({"digit": ["7", "8"], "a,b": ["7", "8"]})
    sources = [Source.of({**columns_of(table), "x": np.eye(2)}) for table in (texts, texts.astype("category"))]
    assert sources[0].content == sources[1].content
    assert sources[0].name != sources[1].name
    assert [source.types for source in sources] == [{}, {"digit": "category"}], "a comma stands between the types"


def test_a_column_beside_the_table_keeps_its_name(service: FakeService, client: Client) -> None:
    frame = pandas.DataFrame(COLUMNS)
    client.train(frame[["age"]], frame["income"])
    assert service.jobs["job_01"]["spec"]["target"] == "income"


def test_a_table_that_is_there_is_not_sent_again(service: FakeService, client: Client, people: Path) -> None:
    for data in (TABLES["pandas"], lambda: people):
        service.requests.clear()
        client.train(data(), target="income")
        client.train(data(), target="income", epochs=2)
        assert uploaded(service)
        assert service.jobs["job_02"]["spec"]["dataset"] == service.jobs["job_01"]["spec"]["dataset"]
        service.jobs.clear()


def test_a_data_set_is_named_by_itself_its_id_or_its_name(service: FakeService, client: Client, people: Path) -> None:
    dataset = client.add_dataset(people)
    for named in (dataset, dataset.id, "people"):
        client.train(named, target="income")
    assert [job["spec"]["dataset"] for job in service.jobs.values() if job["spec"]["dataset"] != "people"] == [
        "ds_01"
    ] * 2


@pytest.mark.parametrize(
    ("data", "options", "field", "got"),
    [
        (COLUMNS, {}, "target", None),
        (COLUMNS, {"target": "wage"}, "target", "wage"),
        (COLUMNS, {"target": ["income", "wage"]}, "target", "wage"),
        (COLUMNS, {"target": "income", "y": [1, 2, 3]}, "target", "income"),
        (COLUMNS, {"target": ["a", "b"], "y": [1, 2, 3]}, "target", ["a", "b"]),
        (COLUMNS, {"target": "income", "layers": ["relu"]}, "layers[0]", "relu"),
        (COLUMNS, {"target": "income", "layers": 64}, "layers", 64),
        (polars.LazyFrame(COLUMNS), {"target": "income"}, "data", "LazyFrame"),
        ("adult", {"target": "income", "y": [1]}, "y", "list"),
        ("adult", {}, "target", None),
        (3, {"target": "income"}, "data", "int"),
        ({1: [2]}, {"target": "income"}, "data", 1),
        (COLUMNS, {"y": pandas.DataFrame({"a": [1], "b": [2]})}, "y", "2 columns"),
        (COLUMNS, {"y": 1}, "y", 1),
        (COLUMNS, {"y": [1, 2]}, "y", "2 rows"),
        ({"age": 39}, {"target": "age"}, "age", 39),
        (pandas.DataFrame([[1, 2]], columns=["a", "a"]), {"target": "a"}, "data", "2 columns 'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), {"target": "a"}, "data", "2 columns 'a'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    service: FakeService, client: Client, data: Any, options: dict[str, Any], field: str, got: Any
) -> None:
    with pytest.raises(InvalidInput) as wrong:
        client.train(data, options.pop("y", None), **options)
    (problem,) = wrong.value.fields
    assert (problem.field, problem.got) == (field, got)
    assert problem.expected
    assert not [one for one in service.requests if one.method == "POST"]


def test_columns_of_different_lengths_and_files_that_are_not_there_are_said(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="columns of equal length"):
        client.train({"a": [1, 2], "b": [1]}, target="b")
    with pytest.raises(InvalidFile, match="no such file"):
        client.train(tmp_path / "nowhere.csv", target="b")
    for path in (tmp_path / "model.pkl", str(tmp_path / "wine.xlsx")):
        with pytest.raises(InvalidFile, match="suffix"):
            client.train(path, target="b")


@pytest.mark.parametrize("values", [[39, "old"], [2**70, 1], [1 + 2j, 0j]], ids=str)
def test_a_column_that_cannot_be_sent_is_named(client: Client, values: list[Any]) -> None:
    with pytest.raises(InvalidInput) as wrong:
        client.train({"ok": [1, 2], "age": values, "y": [0, 1]}, target="y")
    assert [problem.field for problem in wrong.value.fields] == ["age"]


def test_a_type_that_parquet_has_not_is_said(client: Client) -> None:
    durations = pa.array([pa.MonthDayNano([1, 2, 3])])
    with pytest.raises(InvalidInput, match="columns of types that Parquet has"):
        client.train(pa.table({"a": durations, "y": [1]}), target="y")


@pytest.mark.parametrize("name", ["collect", "column_names", "columns", "shape", "dtype"])
def test_a_column_may_be_called_like_a_part_of_a_table(service: FakeService, client: Client, name: str) -> None:
    client.train(pandas.DataFrame({name: [1, 2], "y": [0, 1]}), target="y")
    assert arrived(service)[name].to_pylist() == [1, 2]


@pytest.mark.parametrize("size", [-3, 30])
def test_a_compressed_file_that_is_cut_off_or_damaged_is_said(client: Client, tmp_path: Path, size: int) -> None:
    path = tmp_path / "numbers.csv.gz"
    whole = gzip.compress(b"x,y\n" + b"1,2\n" * 100)
    path.write_bytes(whole[:size] if size < 0 else whole[:size] + b"\xff" * 30)
    with pytest.raises(InvalidFile, match=r"numbers\.csv\.gz: cannot be read: "):
        client.train(path, target="y")


def test_a_file_that_stops_to_be_readable_while_it_is_sent_is_said(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("x,y\n1,2\n")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # as root may read any
    with pytest.raises(InvalidFile, match=r"numbers\.csv: cannot be read: Permission denied"):
        client.add_dataset(path)


def test_what_the_callers_own_progress_raises_is_no_matter_of_the_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("x,y\n1,2\n")

    def refuse(sent: int, total: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        client.add_dataset(path, progress=refuse)


def test_a_file_of_the_current_folder_is_no_data_set_though_its_suffix_is_none_of_ours(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wine.xlsx").touch()
    with pytest.raises(InvalidFile, match=r"got the suffix \.xlsx"):
        client.train("wine.xlsx", target="b")


def test_numbers_of_a_spec_may_be_numpys(service: FakeService, client: Client) -> None:
    client.train(COLUMNS, target="income", layers=[np.int64(8)], epochs=np.int64(3), l2=np.float32(0.5))
    spec = service.jobs["job_01"]["spec"]
    assert (spec["layers"], spec["epochs"], spec["l2"]) == ([{"type": "dense", "units": 8}], 3, 0.5)


DECIMALS = {"age": [Decimal("39.5"), None, Decimal("NaN")]}


@pytest.mark.parametrize(
    "table", [pandas.DataFrame(DECIMALS), pa.table({"age": pa.array([Decimal("39.5"), None, None])})], ids=type
)
def test_decimals_are_predicted_with_as_the_numbers_that_they_are(
    service: FakeService, client: Client, table: Any
) -> None:
    service.add_job({}, "succeeded")
    client.predict("job_01", table)
    assert json.loads(service.requests[-1].content)["rows"] == [{"age": 39.5}, {"age": None}, {"age": None}]
    client.predict("job_01", [{"age": Decimal("39.5")}])
    assert json.loads(service.requests[-1].content)["rows"] == [{"age": 39.5}]


def test_columns_to_predict_with_are_of_equal_length(client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"^b: got 1 rows, expected columns of equal length: 'a' has 2$"):
        client.predict("job_01", {"a": [1, 2], "b": [1]})


NAN, INFINITY = float("nan"), float("inf")
JSON = "a number, a string, true, false, None, or a list or dictionary of these"


@pytest.mark.parametrize(
    ("spec", "field", "got", "expected"),
    [
        ({"l2": INFINITY}, "l2", INFINITY, "a finite number"),
        ({"l2": Decimal("Infinity")}, "l2", INFINITY, "a finite number"),
        ({"l2": np.float32("-inf")}, "l2", -INFINITY, "a finite number"),
        ({"labels": {"a"}}, "labels", "set", JSON),
        ({"layers": [8, {"type": "dropout", "rate": b"x"}]}, "layers[1].rate", "bytes", JSON),
        ({"optimizer": {"type": "adam", "learning_rate": np.ones(2)}}, "optimizer.learning_rate", "ndarray", JSON),
        ({"labels": {("a",): "b"}}, "labels", ("a",), "names that are strings"),
    ],
)
def test_what_is_no_json_is_said_by_its_field(
    service: FakeService, client: Client, spec: dict[str, Any], field: str, got: Any, expected: str
) -> None:
    with pytest.raises(InvalidInput) as wrong:
        client.train(COLUMNS, target="income", **spec)
    assert [(one.field, one.got, one.expected) for one in wrong.value.fields] == [(field, got, expected)]
    assert not service.jobs


def test_each_number_that_is_none_is_said(client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"^l2: got nan, expected a finite number\nlr: got nan, expected a finite"):
        client.train(COLUMNS, target="income", l2=NAN, lr=np.float64("nan"))
    with pytest.raises(InvalidInput, match=r"^rows\[1\].age: got nan, expected a finite number$"):
        client.predict("job_01", [{"age": 39}, {"age": NAN}])


@pytest.mark.parametrize("kind", TABLES)
def test_the_service_predicts_the_rows_of_a_table(service: FakeService, client: Client, kind: str) -> None:
    service.add_job({}, "succeeded")
    assert [one.value for one in client.predict("job_01", TABLES[kind]())] == ["<=50K", ">50K", "<=50K"]
    (row, _, missing) = json.loads(service.requests[-1].content)["rows"]
    assert row == {"age": 39, "workclass": "State-gov", "income": 0}
    assert missing == {"age": None, "workclass": "007", "income": 1}


def test_the_service_predicts_the_rows_of_an_array(service: FakeService, client: Client) -> None:
    service.add_job({}, "succeeded")
    service.answers = [httpx.Response(200, json={"predictions": []})]
    client.predict("job_01", np.eye(2))
    assert json.loads(service.requests[-1].content)["rows"] == [{"x": [1.0, 0.0]}, {"x": [0.0, 1.0]}]
    assert [one.value for one in client.predict("job_01", [{"age": np.int64(41)}])] == [">50K"]


def test_without_pyarrow_a_table_is_sent_as_npz_or_by_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    content, suffix = packed({"a": [1, 2], "b": ["x", "y"]})
    arrays = np.load(io.BytesIO(content))
    assert (suffix, arrays["a"].tolist(), arrays["b"].tolist()) == (".npz", [1, 2], ["x", "y"])
    with pytest.raises(ChainruleError, match="column 'b' has missing or mixed values: pip install pyarrow"):
        packed({"a": [1, 2], "b": ["x", None]})
    table = polars.DataFrame(COLUMNS)
    content, suffix = packed(columns_of(table), table)
    assert (suffix, polars.read_parquet(content).to_dict(as_series=False)) == (".parquet", COLUMNS)
