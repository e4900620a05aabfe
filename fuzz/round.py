"""One round: Schemathesis goes through all phases with one key and one seed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.table import Seeded

__all__ = ["PHASES", "Round", "fuzzed"]

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@dataclass(frozen=True)
class Round:
    """What a round has found."""

    seed: int
    cases: int
    """Requests that were made and checked."""
    failed: int
    """Failures that differ, errors of the tool included."""
    phases: tuple[str, ...]
    """Those that were gone through."""
    right: dict[str, int]
    """How many right requests each operation was sent …"""
    accepted: dict[str, int]
    """… and how many of them it took."""
    said: str
    """All that Schemathesis wrote: each failure with the request that brings it about."""


def fuzzed(
    url: str, key: str, seeded: Seeded, seed: int, examples: int, folder: Path, phases: Sequence[str] = PHASES
) -> Round:
    """Makes requests to the service at `url` with `key`, `examples` at most for each operation and phase; `folder`
    takes the report. Raises RuntimeError when there is none."""
    report = folder / f"round-{seed}.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    command += [f"{url}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {key}"]
    command += ["--seed", str(seed), "--max-examples", str(examples), "--workers", "1", "--no-color"]
    command += ["--phases", ",".join(phases)]
    command += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **seeded.environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not report.exists():
        raise RuntimeError(f"Schemathesis ended with {done.returncode} and without a report:\n{done.stdout[-5000:]}")
    told = json.loads(report.read_text("utf-8"))
    unfinished = int(not told["complete"]) + int(done.returncode != 0 and not told["failures"])
    return Round(
        seed=seed,
        cases=told["test_cases"]["generated"],
        failed=len(told["failures"]) + len(told["errors"]) + unfinished,
        phases=tuple(name for name, phase in told["phases"].items() if phase["status"] in ("success", "failure")),
        right=_sums(told["valid_rates"], lambda phase: sum(phase.values())),
        accepted=_sums(told["valid_rates"], lambda phase: phase["accepted"]),
        said=done.stdout,
    )


def _sums(rates: Mapping[str, Mapping[str, Any]], count: Callable[[Mapping[str, int]], int]) -> dict[str, int]:
    """By operation, over all phases."""
    return {operation: sum(map(count, phases.values())) for operation, phases in rates.items()}
