"""What a worker computes does not tell how its rows lie on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.models import load
from shared.losses import probabilities
from shared.spec import JobSpec
from shared.table import TableFile
from support.tables import write_table
from support.training import digest_of, run
from workers.data import PreparedData
from workers.job import TrainingJob
from workers.planning import plan

ROWS = 300
RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (ROWS, 5, 4)).astype(np.uint8)
DIGITS = [f"{digit}" for digit in IMAGES[:, 0, 0] % 3]


def job_on(table: TableFile, folder: Path, **changes: Any) -> TrainingJob:
    layers = [{"type": "dense", "units": 7, "activation": "gelu"}]
    spec = {"dataset": "d", "target": "digit", "features": ["image"], "layers": layers, "batch_size": 32, "epochs": 3}
    planned = plan(JobSpec.model_validate({**spec, "validation": {"fraction": 0.2}, **changes}), table, None)
    folder.mkdir()
    return TrainingJob("job_test", 1, planned, table, None, str(folder), 1)


@pytest.mark.parametrize("images", [IMAGES, IMAGES.reshape(ROWS, 20)])
def test_bytes_and_the_same_numbers_as_floats_train_to_the_same_bits(images: Any, tmp_path: Path) -> None:
    digests = set()
    for dtype in (np.uint8, np.float32, np.float64):
        columns = {"image": ("tensor", images.astype(dtype)), "digit": ("category", DIGITS)}
        table = write_table(tmp_path / f"{np.dtype(dtype)}.arrow", columns)
        digests.add(digest_of(run(job_on(table, tmp_path / f"{np.dtype(dtype)}"))))
    assert len(digests) == 1


def test_training_rows_of_bytes_are_predicted_as_the_network_saw_them(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.arrow", {"image": ("tensor", IMAGES), "digit": ("category", DIGITS)})
    run(job_on(table, tmp_path / "job", validation=None))
    model = load(tmp_path / "job" / "model.safetensors")
    rows = PreparedData.load(tmp_path / "job" / "prepared").open_training(model.network.dtype)
    x, y = rows.memory(ROWS)
    rows.gather(np.arange(ROWS), x, y)
    outputs = model.network.forward(model.parameters, x, model.network.workspace(ROWS, training=False))
    expected = probabilities(outputs, 3).astype(np.float64)
    predicted = model.predict([{"image": image.tolist()} for image in IMAGES])
    assert [[*row["probabilities"].values()] for row in predicted] == expected.tolist()
