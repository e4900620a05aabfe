"""Predictions and evaluations take bounded memory, however wide the network and however long the names."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.models import Model
from shared.errors import InvalidInput
from shared.network import Network
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.spec import Dense, JobSpec, MseLoss
from support.tables import write_table
from workers.evaluating import evaluate

A = FittedFeature(name="a", type="number", width=1)
Y = FittedTarget(name="y", type="number")
WIDE = Network([Dense(type="dense", units=100_000, activation="relu")], 1, 1, MseLoss(type="mse"), "float64")


def peak_of(act: Callable[[], Any]) -> int:
    """Bytes that are held at once meanwhile."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_of_a_wide_network_few_rows_are_looked_at_together(tmp_path: Path) -> None:
    preprocessing = FittedPreprocessing(task="regression", features=[A], targets=[Y])
    parameters = np.full(WIDE.size, 0.5)
    model = Model(WIDE, parameters, preprocessing)
    values = np.arange(1_024.0)
    predicted: list[dict[str, Any]] = []
    assert peak_of(lambda: predicted.extend(model.predict([{"a": value} for value in values]))) < 400 << 20
    assert [row["value"] for row in predicted] == pytest.approx((values / 2 + 0.5) * 50_000 + 0.5)

    table = write_table(tmp_path / "ab.arrow", {"a": ("number", values), "y": ("number", values)})
    spec = JobSpec.model_validate({"dataset": "d", "target": "y", "validation": {"dataset": "d"}})
    found = []
    assert peak_of(lambda: found.append(evaluate(spec, WIDE, parameters, preprocessing, table, 1_024))) < 400 << 20
    assert found[0].outputs[:, 0] == pytest.approx((values / 2 + 0.5) * 50_000 + 0.5)


@pytest.mark.parametrize("classes", [["x" * 1_000_000, "y" * 1_000_000], ["x", "y" * 1_500_000]])
def test_of_long_class_names_fewer_rows_are_predicted_at_once(classes: list[str]) -> None:
    target = FittedTarget(name="y", type="category", classes=classes)
    preprocessing = FittedPreprocessing(task="classification", features=[A], targets=[target])
    network = Network([], 1, 1, MseLoss(type="mse"), "float64")
    model = Model(network, np.zeros(network.size), preprocessing)
    characters = sum(map(len, classes)) + max(map(len, classes))
    most = (64 << 20) // characters
    assert len(model.predict([{"a": 1}] * most)) == most
    with pytest.raises(InvalidInput) as refused:
        model.predict([{"a": 1}] * (most + 1))
    wrong = refused.value.errors[0]
    assert (wrong.field, wrong.got) == ("rows", f"{most + 1} rows")
    told = f"at most {most} rows at once for a model that tells {characters:,} characters of names with each"
    assert wrong.expected == told
