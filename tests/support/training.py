"""Small tables and plans for tests that train in this process, without Ray."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.spec import JobSpec
from shared.table import Column, TableFile
from workers.coordinator import Coordinator
from workers.disk import DISK, Disk
from workers.job import Report, TrainingJob
from workers.planning import plan
from workers.transport import LocalTransport, Transport


def table_of(folder: Path, columns: dict[str, npt.NDArray[Any]]) -> TableFile:
    """A table of float64 columns in the form that the control plane leaves behind."""
    path = folder / "table.arrow"
    table = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=64)
    return TableFile(
        dataset_id="ds_test",
        path=str(path),
        rows=table.num_rows,
        sha256="0" * 64,
        columns=[Column(name=name, type="number") for name in columns],
    )


def wave(folder: Path, rows: int = 300) -> TableFile:
    """y is a smooth function of two columns, with a little noise."""
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, rows))
    return table_of(folder, {"a": a, "b": b, "y": np.sin(a) * b + 0.1 * random.normal(size=rows)})


SPEC: dict[str, Any] = {
    "dataset": "wave",
    "target": "y",
    "layers": [{"type": "dense", "units": 8, "activation": "tanh"}, {"type": "dropout", "rate": 0.2}],
    "batch_size": 50,
    "epochs": 4,
    "validation": {"fraction": 0.2},
}


def job_of(folder: Path, attempt: int = 1, workers: int = 1, **changes: Any) -> TrainingJob:
    """A job on the wave, in a folder of its own. Of attempts at it, the one with the higher number is the later one."""
    folder.mkdir(exist_ok=True)
    table = wave(folder)
    planned = plan(JobSpec.model_validate({**SPEC, **changes}), table, None)
    return TrainingJob("job_test", attempt, planned, table, None, str(folder), workers, epoch=attempt)


def run(job: TrainingJob, transport: Transport | None = None, disk: Disk = DISK) -> list[Report]:
    """Runs an attempt to its end and returns all that it told."""
    coordinator = Coordinator(job, transport or LocalTransport(1), disk=disk)
    coordinator.run()
    told = coordinator.reports(0, 0)
    while told[-1].type != "ended":
        told += coordinator.reports(told[-1].number, 0)
    return told


def ended(reports: list[Report]) -> dict[str, Any]:
    """The last report, which is how the attempt ended."""
    assert reports[-1].type == "ended"
    return reports[-1].data


def digest_of(reports: list[Report]) -> str:
    """The digest that a successful attempt told."""
    end = ended(reports)
    assert end["outcome"] == "succeeded", end
    return str(end["parameters_sha256"])
