"""The lecture's worked examples as jobs, and what came of them beside what should."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from chainrule import Client, Job

Array = npt.NDArray[np.float64]
LEARNING_RATE = 0.01
PERFECT_EPOCHS = 2000  # from all-zero weights the batch of six is matched to 1e-12 after 1,443 steps


@dataclass(frozen=True)
class Comparison:
    """A quantity of an example: as the lecture has it, and as the service computed it. `at_most` is a bound instead."""

    example: str
    quantity: str
    expected: Array
    got: Array
    tolerance: float = 1e-12
    at_most: bool = False

    @property
    def difference(self) -> float:
        return float(np.max(np.abs(self.got - self.expected)))

    @property
    def holds(self) -> bool:
        return bool(np.all(self.got <= self.expected)) if self.at_most else self.difference <= self.tolerance


class Example:
    """One example: its rows as a data set, its jobs, its numbers."""

    def __init__(self, example: dict[str, Any]) -> None:
        self.name: str = example["name"]
        self._example = example
        self._inputs = [f"x{number}" for number in range(1, len(example["x"][0]) + 1)]
        self._targets = [f"y{number}" for number in range(1, len(example["y"][0]) + 1)]
        self._jobs: dict[str, Job] = {}

    def upload(self, client: Client, folder: Path) -> None:
        """Sends the rows as a CSV file."""
        path = folder / f"{self.name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self._inputs + self._targets)
            writer.writerows(x + y for x, y in zip(self._example["x"], self._example["y"], strict=True))
        client.add_dataset(path)

    def submit(self, client: Client) -> list[Job]:
        """Sends the jobs: one that leaves the parameters as they are, one of a single step, one of many."""
        if "initial_parameters" in self._example:
            self._jobs["untrained"] = client.submit(self._spec(learning_rate=0.0))
            self._jobs["one step"] = client.submit(self._spec())
        if "after_100_steps" in self._example:
            self._jobs["trained"] = client.submit(self._spec(epochs=101))  # its last loss is that after 100 steps
        if "initial_parameters" not in self._example:
            self._jobs["trained"] = client.submit(self._spec(epochs=PERFECT_EPOCHS))
        return list(self._jobs.values())

    def _spec(self, *, learning_rate: float = LEARNING_RATE, epochs: int = 1) -> dict[str, Any]:
        initial = self._example.get("initial_parameters") or {
            "weights": [[[0.0]] * len(self._inputs)],
            "biases": [[0.0]],
        }
        return {
            "name": self.name,
            "dataset": self.name,
            "target": self._targets if len(self._targets) > 1 else self._targets[0],
            "task": "regression",
            "layers": self._example["layers"],
            "loss": {"type": "mse"},
            "optimizer": {"type": "sgd", "learning_rate": learning_rate},
            "batch_size": len(self._example["x"]),
            "epochs": epochs,
            "shuffle": False,
            "workers": 1,
            "preprocessing": {"standardize": False},
            "initial_parameters": {"weights": initial["weights"], "biases": initial["biases"]},
            "dtype": "float64",
        }

    def comparisons(self, client: Client, folder: Path) -> Iterator[Comparison]:
        """Every number of the example, expected and got; the jobs have ended."""
        example = self._example
        if "untrained" in self._jobs:
            job = client.job(self._jobs["untrained"].id)
            yield self._compare("prediction", example["prediction"], self._predict(client, job))
            yield self._compare("loss", example["loss_before"], job.latest_metrics["train_loss"])
        if "one step" in self._jobs:
            yield from self._after_one_step(client, folder)
        if "trained" in self._jobs:
            job = client.job(self._jobs["trained"].id)
            bound, steps = (1e-6, 100) if "after_100_steps" in example else (1e-12, PERFECT_EPOCHS)
            yield self._compare(f"loss after {steps:,} steps", bound, job.latest_metrics["train_loss"], at_most=True)
            if "after_100_steps" not in example:
                weights, biases = _parameters(client, job, folder)
                yield self._compare("parameters", [2, -1.5, 1, 1], _flat([*weights, *biases]), tolerance=1e-5)

    def _after_one_step(self, client: Client, folder: Path) -> Iterator[Comparison]:
        example = self._example
        job = client.job(self._jobs["one step"].id)
        weights, biases = _parameters(client, job, folder)
        got = _flat([*weights, *biases])
        gradient = _flat([*example["gradient"]["weights"], *example["gradient"]["biases"]])
        before = _flat([*example["initial_parameters"]["weights"], *example["initial_parameters"]["biases"]])
        yield self._compare("gradient", gradient, (before - got) / LEARNING_RATE, tolerance=1e-12 / LEARNING_RATE)
        if "after_one_step" in example:
            after = example["after_one_step"]
            yield self._compare("parameters after a step", _flat([*after["weights"], *after["biases"]]), got)
        if "loss_after_one_step" in example:
            errors = self._predict(client, job) - np.array(example["y"])
            yield self._compare("loss after a step", example["loss_after_one_step"], np.mean(errors**2))

    def _predict(self, client: Client, job: Job) -> Array:
        rows = [dict(zip(self._inputs, x, strict=True)) for x in self._example["x"]]
        values = [prediction.value for prediction in client.predict(job.id, rows)]
        return np.array(
            [[value[name] for name in self._targets] if isinstance(value, dict) else [value] for value in values]
        )

    def _compare(self, quantity: str, expected: Any, got: Any, **how: Any) -> Comparison:
        return Comparison(self.name, quantity, np.asarray(expected, float), np.asarray(got, float), **how)


def read_examples(path: Path) -> list[Example]:
    """The examples in a file such as lecture.json."""
    return [Example(example) for example in json.loads(path.read_text())["examples"]]


def _parameters(client: Client, job: Job, folder: Path) -> tuple[list[Array], list[Array]]:
    """Weights and biases of each dense layer, from the job's model file."""
    tensors = load_file(client.download_model(job.id, folder / f"{job.id}.safetensors"))
    layers = range(len(tensors) // 2)
    return [tensors[f"layers.{n}.weights"] for n in layers], [tensors[f"layers.{n}.bias"] for n in layers]


def _flat(arrays: list[Any]) -> Array:
    """All numbers in order; some stand in the lecture as fractions ("-4/3")."""
    return np.array([float(Fraction(value)) for array in arrays for value in np.ravel(np.array(array, dtype=object))])
