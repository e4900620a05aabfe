"""What each process of a real job keeps to itself of memory, from its submit to its model, where the data are large.

Three tables are uploaded to a service, and a job of two workers trains on each for an epoch: categories that become a
matrix of gigabytes; images; and more rows than an index of them would fit into memory. Read of every process every
5 ms: its anonymous memory (RssAnon), since matrices and orders are mapped files, whose pages are the node's.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.memory import Watch
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import Training, trained
from chainrule import Client
from examples.service_process import ServiceProcess

__all__ = ["TABLES", "Table", "measure"]

PRIVATE_MB = 500.0
BLOCK_ROWS = 100_000
COLUMNS, CATEGORIES = 8, 98  # one input of 4 bytes for each: 784 inputs
PIXELS = 784


class Table(NamedTuple):
    """What is uploaded, and how it is trained on."""

    what: str
    write: Callable[[Path, int], Path]
    rows: int
    quick_rows: int
    batch_size: int


def measure(run: Run) -> Outcome:
    """The largest process of each job, and the service, in MB (10⁶ bytes)."""
    figures, goals = [], []
    for table in TABLES:
        rows = run.amount(table.rows, quick=table.quick_rows)
        row = f"{rows:,} rows of {table.what}"
        run.say(row)
        training, peak_bytes = _train(table, rows)
        for name, column in (("job", "a process of the job"), ("service", "the service")):
            private = Spread.of([peak_bytes[name] / 1e6])
            figures.append(Figure(row, column, "MB", private))
            goals.append(Goal(f"private memory of {column}, {row}", "MB", PRIVATE_MB, private, at_most=True))
        figures.append(Figure(row, "from CPUs to model", "s", Spread.of([training.took_s])))
    return Outcome(figures, goals)


def _train(table: Table, rows: int) -> tuple[Training, Mapping[str, int]]:
    """Trains on it by a service of its own; the peaks of private memory after the upload."""
    with ServiceProcess() as process, Client(process.url) as client:
        process.wait_until_ready()
        with tempfile.TemporaryDirectory() as scratch:
            dataset = client.add_dataset(table.write(Path(scratch), rows), "big")
        spec: dict[str, Any] = {
            "dataset": dataset.id,
            "target": "y",
            "task": "regression",
            "layers": [{"type": "dense", "units": 16, "activation": "relu"}],
            "batch_size": table.batch_size,
            "epochs": 1,
            "validation": {"fraction": 0.1},
            "workers": {"min": 2, "max": 2},
        }
        with Watch(lambda: _names(process)) as watch:
            training = trained(client, spec)
    return training, watch.peak_bytes


def _names(service: ServiceProcess) -> dict[int, str]:
    """The service's processes: itself, those that its jobs use, and Ray's own."""
    return {process: _name(process) for process in service.processes()}


def _name(process: int) -> str:
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
    return "job" if command.startswith("ray::") else "service" if "chainrule serve" in command else "ray"


# ---------------------------------------------------------------- tables: one block of random rows, again and again
def _write_categories(folder: Path, rows: int) -> Path:
    names = np.array([f"c{number:02}" for number in range(CATEGORIES)])
    random = np.random.default_rng(0)
    block = [*names[random.integers(0, CATEGORIES, (COLUMNS, BLOCK_ROWS))], random.integers(0, 10, BLOCK_ROWS)]
    return _write_csv(folder, [*(f"c{number}" for number in range(COLUMNS)), "y"], block, rows)


def _write_numbers(folder: Path, rows: int) -> Path:
    return _write_csv(folder, ["x", "y"], list(np.random.default_rng(0).integers(0, 10, (2, BLOCK_ROWS))), rows)


def _write_csv(folder: Path, header: list[str], block: list[Any], rows: int) -> Path:
    lines = [",".join(map(str, cells)) + "\n" for cells in zip(*block, strict=True)]
    whole = "".join(lines).encode()
    with (folder / "table.csv").open("wb") as file:
        file.write(f"{','.join(header)}\n".encode())
        for _ in range(rows // BLOCK_ROWS):
            file.write(whole)
        file.write("".join(lines[: rows % BLOCK_ROWS]).encode())
    return folder / "table.csv"


def _write_images(folder: Path, rows: int) -> Path:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, rows * PIXELS, np.uint8).reshape(rows, 28, 28)
    np.savez(folder / "table.npz", image=images, y=random.integers(0, 10, rows))
    return folder / "table.npz"


TABLES = (
    Table("8 categories, 784 inputs", _write_categories, 2_550_000, 30_000, batch_size=4_096),
    Table("28 × 28 pixels", _write_images, 500_000, 20_000, batch_size=4_096),
    Table("one number", _write_numbers, 200_000_000, 5_000_000, batch_size=1_000_000),
)
