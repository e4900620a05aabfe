"""A model that is downloaded predicts the same numbers as the service, from a table of any library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

from chainrule import Client, InvalidInput, Model, Refused
from chainrule.rows import read_rows
from support.running_service import DATA, RunningService

pytestmark = pytest.mark.ray

LAYERS = [16, {"type": "dropout", "rate": 0.1}, 8]
ACTIVATIONS = ["identity", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "silu"]
SHORT: dict[str, Any] = {"layers": LAYERS, "epochs": 2, "batch_size": 500, "workers": 1}


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[Client]:
    with Client(str(service.http.base_url), service.key) as client:
        yield client


def trained(client: Client, data: Any, y: Any = None, **spec: Any) -> tuple[str, Model]:
    """The id of a job that has succeeded, and its model."""
    job = client.train(data, y, **{**SHORT, **spec}).wait(progress=False)
    assert job.state == "succeeded", job.reason
    return job.id, job.model()


def agree(client: Client, job_id: str, model: Model, rows: list[dict[str, Any]], data: Any = None) -> None:
    """What the model says of `data`, or of `rows`, is what the service says of `rows`."""
    told = client.predict(job_id, rows)
    got = model.predict(rows if data is None else data)
    if model.classes is None:
        values = [list(one.value.values()) if isinstance(one.value, dict) else one.value for one in told]
        np.testing.assert_allclose(got, values, rtol=1e-6, atol=1e-6)
        return
    assert got.tolist() == [one.value for one in told]
    probabilities = [list((one.probabilities or {}).values()) for one in told]
    np.testing.assert_allclose(model.predict_proba(rows if data is None else data), probabilities, atol=1e-6)


def without(target: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != target} for row in rows]


def test_incomes_with_missing_values_and_unseen_categories(client: Client) -> None:
    job_id, model = trained(client, DATA / "adult-train.csv.gz", target="income")
    rows = without("income", list(read_rows(DATA / "adult-test.csv.gz", model.features | {"income": "category"}))[:900])
    rows += [{**rows[0], "workclass": "Astronaut", "age": None}, {**rows[1], "occupation": None, "native_country": "?"}]
    assert any(None in row.values() for row in rows[:900])
    agree(client, job_id, model, rows)
    for table in (pandas.DataFrame(rows), polars.DataFrame(rows, infer_schema_length=None), pa.Table.from_pylist(rows)):
        agree(client, job_id, model, rows, table)
    agree(client, job_id, model, rows, {name: [row[name] for row in rows] for name in model.features})


def test_images(client: Client) -> None:
    with np.load(DATA / "digits-train.npz") as file:
        images, digits = file["image"][:2000], file["digit"][:2000]
    job_id, model = trained(client, images, digits, task="classification")
    agree(client, job_id, model, [{"x": image.tolist()} for image in images[:200]], images[:200])


def test_a_regression_and_one_of_several_targets(client: Client) -> None:
    for target in ("quality", ["quality", "alcohol"]):
        job_id, model = trained(client, DATA / "wine-quality-white.csv", target=target)
        columns = {column.name: column.type for column in client.dataset("wine-quality-white").columns}
        rows = list(read_rows(DATA / "wine-quality-white.csv", columns))[:300]
        wanted = [{name: row[name] for name in model.features} for row in rows]
        agree(client, job_id, model, wanted)
        agree(client, job_id, model, wanted, np.array([list(row.values()) for row in wanted], dtype=float))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_float64(client: Client, activation: str) -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))
    layers = [{"type": "dense", "units": 5, "activation": activation}] * 2
    job_id, model = trained(
        client, x, np.array(["no", "yes", "maybe"])[np.arange(200) % 3], layers=layers, dtype="float64"
    )
    agree(client, job_id, model, [{"x": row.tolist()} for row in x], x)


def test_booleans_true_and_false(client: Client) -> None:
    table = {"a": [True, False, None, True] * 20, "b": [1, 2, 3, None] * 20, "y": [True, False, True, False] * 20}
    job_id, model = trained(client, pandas.DataFrame(table), target="y")
    rows = [{"a": True, "b": 1}, {"a": None, "b": None}, {"a": False, "b": 3.0}]
    agree(client, job_id, model, rows)
    agree(client, job_id, model, rows, pandas.DataFrame(rows))


def test_what_the_service_refuses_is_refused_here_with_the_same_field(client: Client) -> None:
    job_id, model = trained(client, DATA / "adult-train.csv.gz", target="income")
    row = without("income", list(read_rows(DATA / "adult-test.csv.gz", model.features))[:1])[0]
    for wrong in ({"age": "old"}, {"workclass": 7}, {"age": True}, {"age": 3.5}):
        with pytest.raises(InvalidInput) as here:
            model.predict([row, row | wrong])
        with pytest.raises(Refused) as there:
            client.predict(job_id, [row, row | wrong])
        assert [one.field for one in here.value.fields] == [one.field for one in there.value.fields]
    with pytest.raises(InvalidInput, match=r"rows\[0\].age: got inf"):
        model.predict([row | {"age": float("inf")}])
    with pytest.raises(InvalidInput, match="age: got null"):
        model.predict([{"workclass": "Private"}])


def test_a_model_is_loaded_without_the_service(client: Client, tmp_path: Path) -> None:
    x = np.arange(40.0).reshape(20, 2)
    job_id, model = trained(client, x, x[:, 0])
    loaded = Model.load(client.download_model(job_id, tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.parameters_sha256 == client.job(job_id).parameters_sha256
