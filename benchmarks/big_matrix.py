"""What a gradient worker needs of memory where the prepared matrix is large: python -m benchmarks.big_matrix."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Watch
from shared.plan import Plan
from shared.preprocessing import FittedFeature, FittedPreprocessing, FittedTarget
from shared.spec import JobSpec
from workers.costs import costs_of
from workers.gradient_worker import GradientWorker, network_of
from workers.order import LongOrders
from workers.transport import Vectors

__all__ = ["measure", "prepare_matrix"]

BLOCK_BYTES = 64 << 20


def measure(size_bytes: int, columns: int = 784, steps: int = 50, folder: Path | None = None) -> dict[str, Any]:
    """Trains on a float32 matrix of `size_bytes` in a process of its own: rows/s, and its peak of private memory."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        prepare_matrix(Path(scratch), size_bytes, columns)
        load_before = os.getloadavg()[0]
        command = [sys.executable, "-m", "benchmarks.big_matrix", "--steps", str(steps), "--prepared", scratch]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"load_before": round(load_before, 2), "matrix_megabytes": size_bytes // 10**6, "columns": columns, **told}


def prepare_matrix(folder: Path, size_bytes: int, columns: int) -> None:
    """Writes what `workers.data.prepare` would leave of a regression on so many numbers, and the plan beside it."""
    rows = size_bytes // (4 * columns)
    names = [f"c{number}" for number in range(columns)]
    features = [FittedFeature(name=name, type="number", width=1) for name in names]
    preprocessing = FittedPreprocessing(
        task="regression", features=features, targets=[FittedTarget(name="y", type="number")]
    )
    (folder / "preprocessing.json").write_text(preprocessing.model_dump_json(), encoding="utf-8")
    told = {"identity": "", "training_rows": rows, "validation_rows": 0}
    (folder / "prepared.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "plan.json").write_text(_plan(names, rows).model_dump_json(), encoding="utf-8")
    random = np.random.default_rng(0)
    for name, width in (("x", columns), ("y", 1)):
        block = random.random((min(rows, BLOCK_BYTES // (4 * width)), width), dtype=np.float32)
        with (folder / f"training_{name}.npy").open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, rows, len(block)):
                file.write(block[: rows - start].data)


def _plan(names: list[str], rows: int) -> Plan:
    fields = {
        "dataset": "big",
        "target": "y",
        "features": names,
        "task": "regression",
        "loss": {"type": "mse"},
        "layers": [{"type": "dense", "units": 64, "activation": "relu"}],
        "batch_size": 4096,
        "epochs": 10,
    }
    spec = JobSpec.model_validate(fields)
    costs = costs_of(spec, len(names), 1, rows, 0, stored_bytes=4)
    return Plan(
        spec=spec,
        inputs=len(names),
        outputs=1,
        classes=None,
        parameters=costs.parameters,
        training_rows=rows,
        validation_rows=0,
        steps_per_epoch=costs.steps_per_epoch,
        steps=costs.steps,
        memory_bytes=costs.memory_bytes,
        disk_bytes=costs.disk_bytes,
        notes=[],
    )


def _train(prepared: Path, steps: int) -> dict[str, Any]:
    """Some steps of the first epoch and one of the second, with all shards on one worker, in this very process."""
    plan = Plan.model_validate_json((prepared / "plan.json").read_bytes())
    alone, shards = range(1), range(plan.spec.shards)
    vectors = Vectors(plan, alone, 1, bytearray(Vectors.size_bytes(plan, alone, 1)))
    vectors.parameters[:] = network_of(plan).initial_parameters(seed=0)
    orders = LongOrders(plan.spec, plan.training_rows, plan.spec.epochs, prepared)
    with Watch(lambda: {os.getpid(): "worker"}) as watch:
        worker = GradientWorker(plan, prepared, vectors.parameters, vectors.gradients_of(0))
        orders_s = [_seconds(lambda: orders.await_epoch(0))]
        worker.gradients(0, shards)
        steps_s = _seconds(lambda: [worker.gradients(1 + step, shards) for step in range(steps)])
        orders_s.append(_seconds(lambda: orders.await_epoch(1)))
        worker.gradients(plan.steps_per_epoch, shards)
        orders.close()
    return {
        "rows": plan.training_rows,
        "rows_per_s": round(steps * plan.spec.batch_size / steps_s),
        "waited_for_orders_s": [round(seconds, 2) for seconds in orders_s],
        "peak_private_megabytes": round(watch.peak_bytes["worker"] / 1e6, 1),
        "peak_rss_megabytes": round(_status_bytes("VmHWM") / 1e6, 1),
    }


def _status_bytes(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(name))


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=8000, help="size of the matrix, in 10⁶ bytes")
    parser.add_argument("--columns", type=int, default=784)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--prepared", type=Path, help="train on what lies there, in this process")
    asked = parser.parse_args()
    if asked.prepared is None:
        figures = measure(asked.size_mb * 10**6, asked.columns, asked.steps)
    else:
        figures = _train(asked.prepared, asked.steps)
    print(json.dumps(figures, indent=2))
