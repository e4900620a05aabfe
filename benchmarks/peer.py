"""Other libraries that train the same network: each is a script of its own, run by a Python that has the library.

`make bench-peers` makes an environment for them, so that the product never meets them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records import BenchmarkFailed

__all__ = ["PEERS", "Pace", "Peer"]

SCRIPTS = Path(__file__).with_name("peers")
INTERPRETERS = (Path(__file__).resolve().parent.parent / ".venv-peers/bin/python", Path(sys.executable))
WITHIN_S = 600.0
# What our own processes are told about BLAS; peers keep their defaults.
OURS = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Pace:
    """How fast a peer trained, and what it says that it used."""

    samples_per_s: float
    used: str
    version: str


@dataclass(frozen=True)
class Peer:
    """A library in one way of using it: `script` trains with it, where `module` can be imported."""

    name: str
    module: str
    script: Path

    def interpreter(self, candidates: Sequence[Path] = INTERPRETERS) -> Path | None:
        """The first Python that has the library, or None: the peer is not installed."""
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({self.module!r}) is None)"
        for python in candidates:
            if python.exists() and subprocess.run([python, "-c", find], check=False).returncode == 0:
                return python
        return None

    def train(self, python: Path, problem: Mapping[str, Any]) -> Pace:
        """Trains in a process of its own, which has ended when this returns. Raises BenchmarkFailed."""
        environment = {name: value for name, value in os.environ.items() if name not in OURS}
        process = subprocess.Popen(
            [python, self.script, json.dumps(problem)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that all it started can be ended with it
        )
        try:
            output, errors = process.communicate(timeout=WITHIN_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchmarkFailed(f"{self.name} did not end within {WITHIN_S:g} s") from None
            raise
        if process.returncode != 0:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise BenchmarkFailed(f"{self.name} ended with exit code {process.returncode}: {last}")
        return Pace(**json.loads(output.splitlines()[-1]))


PEERS = (
    Peer("PyTorch DDP, 2 processes", "torch", SCRIPTS / "torch_ddp.py"),
    Peer("PyTorch, 2 threads", "torch", SCRIPTS / "torch_one.py"),
    Peer("JAX jit, 2 threads", "jax", SCRIPTS / "jax_jit.py"),
    Peer("scikit-learn, 2 threads", "sklearn", SCRIPTS / "sklearn_mlp.py"),
)
