"""`train` takes a table as users have it, uploads it once, and says at once what cannot be."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule import Client, InvalidFile, InvalidInput
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


NAN, INFINITY = float("nan"), float("inf")
JSON = "a number, a string, true, false, None, or a list or dictionary of these"


@pytest.mark.parametrize(
    ("spec", "field", "got", "expected"),
    [
        ({"l2": INFINITY}, "l2", INFINITY, "a finite number"),
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
