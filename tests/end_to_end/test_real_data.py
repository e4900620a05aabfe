"""Real data through the real service, to the accuracy that the network can have."""

import csv
import gzip
import io
from typing import Any

import numpy as np
import pytest
import yaml

from support.running_service import DATA, ROOT, RunningService

pytestmark = pytest.mark.ray


def example(name: str) -> dict[str, Any]:
    """A spec of the repository's examples."""
    spec = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())
    assert isinstance(spec, dict)
    return spec


def test_digits_are_read_with_at_least_95_percent_test_accuracy(service: RunningService) -> None:
    service.upload("digits", DATA / "digits-train.npz")
    job = service.trained(**example("digits"))
    with np.load(DATA / "digits-test.npz") as test:
        images, digits = test["image"], test["digit"]
    predicted = service.predict(job["id"], [{"image": image.tolist()} for image in images])
    assert len(digits) == 2000
    assert np.mean(np.array(predicted) == digits) >= 0.95


def test_incomes_are_told_with_at_least_85_percent_accuracy_on_the_test_file(service: RunningService) -> None:
    service.upload("adult", DATA / "adult-train.csv.gz")
    service.upload("adult-test", DATA / "adult-test.csv.gz")
    job = service.trained(**{**example("adult"), "validation": {"dataset": "adult-test"}, "early_stopping": None})
    assert job["metrics"]["validation_accuracy"] >= 0.85
    text = gzip.decompress((DATA / "adult-test.csv.gz").read_bytes()).decode()
    columns = {column["name"]: column["type"] for column in service.http.get("/v1/datasets/adult").json()["columns"]}
    rows = [
        {name: None if cell == "?" else int(cell) if columns[name] == "integer" else cell for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]
    truth = [row.pop("income") for row in rows]
    predicted: list[Any] = []
    for first in range(0, len(rows), 5000):
        predicted += service.predict(job["id"], rows[first : first + 5000])
    accuracy = np.mean(np.array(predicted) == np.array(truth))
    assert accuracy == pytest.approx(job["metrics"]["validation_accuracy"], abs=1e-12)


def test_wine_quality_is_told_with_an_error_of_at_most_0_74(service: RunningService) -> None:
    service.upload("wine", DATA / "wine-quality-white.csv")
    spec = example("wine")
    assert spec["validation"] == {"fraction": 0.1}
    assert service.trained(**spec)["metrics"]["validation_rmse"] <= 0.74
