"""The Python client sends tables of other libraries as what their columns mean, to the real service."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest

from chainrule import Client
from support.service_in_process import Service

SHORT: dict[str, Any] = {"layers": [4], "batch_size": 10, "epochs": 2}
ROWS = 40


@pytest.mark.parametrize("missing", [False, True])
def test_digits_that_are_categories_are_classes(training_service: Service, missing: bool) -> None:
    digits = pandas.DataFrame({"digit": np.arange(ROWS) % 3 + 7, "zip": np.arange(ROWS) % 7 + 60_000, "x": 1.0})
    if missing:  # pandas makes floats of the others
        digits.loc[0, "zip"] = None
    table = digits.astype({"digit": "category", "zip": "category"})
    with Client(training_service.url, training_service.key) as client:
        job = client.train(table, target="digit", **SHORT).wait(60, progress=False)
        model = job.model()
        assert model.classes is not None
        assert model.classes.tolist() == ["7", "8", "9"]
        assert model.features == {"zip": "category", "x": "number"}
        rows = digits[1:6].astype({"zip": int}).astype({"zip": "category"})[["zip", "x"]]
        assert model.predict(rows).tolist() == [one.value for one in job.predict(rows)]


def test_very_many_categories_are_no_texts(training_service: Service) -> None:
    table = pa.table({"id": pa.array([f"{row}" for row in range(1_200)]).dictionary_encode(), "y": [0, 1] * 600})
    with Client(training_service.url, training_service.key) as client:
        job = client.train(table, target="y", task="classification", **SHORT)
        assert [(column.name, column.type) for column in client.dataset(job.dataset_id).columns] == [
            ("id", "category"),
            ("y", "integer"),
        ]


@pytest.mark.parametrize("cells", ["array", "lists", "arrow"])
def test_a_tensor_beside_what_is_missing_is_trained_on(training_service: Service, cells: str) -> None:
    vectors = np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 2, 2)
    v = {"array": vectors, "lists": vectors.tolist(), "arrow": pa.array(vectors.tolist())}[cells]
    table = {"v": v, "city": ["Paris", None] * (ROWS // 2), "cost": [Decimal(row) / 4 for row in range(ROWS)]}
    with Client(training_service.url, training_service.key) as client:
        job = client.train(table, np.arange(ROWS)[:, None] % 2, task="classification", **SHORT).wait(60, progress=False)
        model = job.model()
        assert model.features == {"v": "tensor", "city": "category", "cost": "number"}
        assert model.predict(table).tolist() == [one.value for one in job.predict(table)]
