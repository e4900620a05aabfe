"""The lecture's second worked example as a job: three rows, one layer, so small that a step is all coordination."""

import json
from pathlib import Path
from typing import Any

from benchmarks.problem import NEVER_S, WORKERS
from chainrule import Client

__all__ = ["lecture_job", "upload_lecture"]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples/lecture.json"
NAME = "example-2-batch-of-three"


def _example() -> dict[str, Any]:
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))["examples"]
    return next(example for example in examples if example["name"] == NAME)


def upload_lecture(client: Client, folder: Path) -> None:
    """Makes the example's rows a data set."""
    example, path = _example(), folder / f"{NAME}.csv"
    lines = [",".join(map(str, x + y)) for x, y in zip(example["x"], example["y"], strict=True)]
    path.write_text("\n".join(["x1,x2,x3,y", *lines, ""]), encoding="utf-8")
    client.add_dataset(path, NAME)


def lecture_job(epochs: int) -> dict[str, Any]:
    """A spec that takes a step an epoch, from the lecture's own weights."""
    example = _example()
    return {
        "name": f"{NAME}, {epochs:,} epochs",
        "dataset": NAME,
        "target": "y",
        "task": "regression",
        "layers": example["layers"],
        "optimizer": example["optimizer"],
        "preprocessing": {"standardize": False},
        "initial_parameters": {name: example["initial_parameters"][name] for name in ("weights", "biases")},
        "batch_size": len(example["x"]),
        "epochs": epochs,
        "shuffle": False,
        "dtype": "float64",
        "workers": {"min": WORKERS, "max": WORKERS},
        "checkpoint": {"every_s": NEVER_S},
    }
