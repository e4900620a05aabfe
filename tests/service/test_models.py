"""Predictions and evaluations take bounded memory, however wide the network and however long the names."""

import queue
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.models import Model, Models
from shared.errors import InvalidInput, NotFound
from shared.network import Network
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.spec import Dense, JobSpec, MseLoss
from support.service_in_process import WITHIN_S
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


# ---------------------------------------------------------------- reading them
class Files:
    """Files of models, each of which is read when the test lets it be."""

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self.paths = {name: folder / name for name in sizes}
        for name, size in sizes.items():
            self.paths[name].write_bytes(bytes(size))
        self.may_be_read = {name: threading.Event() for name in sizes}
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()

    def load(self, path: Path) -> Model:
        self.begun.put(path.name)
        assert self.may_be_read[path.name].wait(WITHIN_S)
        if path.stat().st_size == 0:
            raise NotFound("empty")
        return Model(WIDE, np.zeros(1), FittedPreprocessing(task="regression", features=[A], targets=[Y]))


def test_a_model_that_many_ask_for_at_once_is_read_once(tmp_path: Path) -> None:
    files = Files(tmp_path, {"model": 1, "empty": 0})
    models = Models(files.load)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(models.get, "job", files.paths["model"]) for _ in range(4)]
        files.may_be_read["model"].set()
        assert len({id(each.result(WITHIN_S)) for each in asked}) == 1
        failed = [pool.submit(models.get, "another", files.paths["empty"]) for _ in range(2)]
        files.may_be_read["empty"].set()
        assert all(isinstance(each.exception(WITHIN_S), NotFound) for each in failed)
    assert files.begun.get() == "model" and files.begun.get() == "empty" and not models._models._making
    with pytest.raises(NotFound):
        models.get("another", files.paths["empty"])


def test_of_large_models_one_is_read_at_a_time_and_small_ones_do_not_wait_for_it(tmp_path: Path) -> None:
    files = Files(tmp_path, {"large": 11, "larger": 12, "small": 10})
    models = Models(files.load, large_bytes=10)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(models.get, "large", files.paths["large"])
        assert files.begun.get(timeout=WITHIN_S) == "large"
        second = pool.submit(models.get, "larger", files.paths["larger"])
        files.may_be_read["small"].set()
        assert pool.submit(models.get, "small", files.paths["small"]).result(WITHIN_S)
        assert files.begun.get(timeout=WITHIN_S) == "small"
        assert files.begun.empty() and not second.done()
        files.may_be_read["large"].set()
        assert first.result(WITHIN_S)
        assert files.begun.get(timeout=WITHIN_S) == "larger"
        files.may_be_read["larger"].set()
        assert second.result(WITHIN_S)
