"""How fast a CSV file of mixed columns becomes a data set, and the memory that takes: python -m benchmarks.ingest."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets import ReadOptions, ingest

__all__ = ["measure", "write_mixed_csv"]

BLOCK_ROWS = 50_000
WORDS = np.array(
    ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "nothing", "but", "leaves, rain"]
)
CITIES = np.array([f"city {number}" for number in range(60)])
PLANS = np.array(["basic", "plus", "family", "company", "student"])
JOIN: Any = pc.binary_join_element_wise  # its type hints know no mix of arrays and texts
HEADER = "id,age,income,ratio,signal,city,plan,member,joined,note\n"


def measure(size_bytes: int, seed: int = 0, folder: Path | None = None) -> dict[str, Any]:
    """Ingests a file of about `size_bytes` in a process of its own: MB/s (10⁶ bytes), and its peak resident memory."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source = Path(scratch) / "mixed.csv"
        write_mixed_csv(source, size_bytes, seed)
        load_before = os.getloadavg()[0]
        command = [sys.executable, "-m", "benchmarks.ingest", "--file", str(source)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"load_before": round(load_before, 2), **told}


def write_mixed_csv(path: Path, size_bytes: int, seed: int = 0) -> None:
    """Writes integers, numbers, categories, booleans, timestamps, text and missing cells, about 110 bytes a row."""
    random, rows = np.random.default_rng(seed), 0
    with path.open("wb") as file:
        file.write(HEADER.encode())
        while file.tell() < size_bytes:
            file.write(_block(random, rows))
            rows += BLOCK_ROWS


def _block(random: np.random.Generator, first: int) -> bytes:
    count = BLOCK_ROWS
    words = WORDS[random.integers(0, len(WORDS), (6, count))]
    notes = JOIN(*map(pa.array, words), " ")
    columns = [
        pa.array(np.arange(first, first + count)),
        _with_gaps(random, pa.array(random.integers(17, 91, count)), "?"),
        pa.array(random.lognormal(10, 1, count).round(2)),
        _with_gaps(random, pa.array(random.random(count)), ""),
        pa.array(random.normal(size=count).round(6)),
        pa.array(CITIES[random.integers(0, len(CITIES), count)]),
        _with_gaps(random, pa.array(PLANS[random.integers(0, len(PLANS), count)]), "NA"),
        pa.array(random.random(count) < 0.3),
        pa.array(random.integers(1_500_000_000, 1_800_000_000, count), pa.timestamp("s")),
        pc.if_else(pc.match_substring(notes, ","), JOIN('"', notes, '"', ""), notes),
    ]
    texts = [column.cast(pa.string()) for column in columns]
    lines = JOIN(*texts, ",").to_pylist()
    return ("\n".join(lines) + "\n").encode()


def _with_gaps(random: np.random.Generator, values: Any, gap: str) -> Any:
    """One cell in twenty is missing."""
    return pc.if_else(random.random(len(values)) < 0.05, gap, values.cast(pa.string()))


def _ingest(source: Path) -> dict[str, Any]:
    """What this very process needs for it."""
    began, used = time.perf_counter(), time.process_time()
    table = ingest(source, "text/csv", ReadOptions(), source.parent, "ds_benchmark", "0" * 64)
    seconds, size = time.perf_counter() - began, source.stat().st_size
    return {
        "megabytes": round(size / 1e6, 1),
        "rows": table.rows,
        "types": [column.type for column in table.columns],
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - used, 2),
        "megabytes_per_s": round(size / 1e6 / seconds, 1),
        "peak_rss_megabytes": round(_peak_resident_bytes() / 1e6, 1),
    }


def _peak_resident_bytes() -> int:
    """Of this process since its program began; getrusage would count what the one that started it had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=1000, help="size of the file that is made, in 10⁶ bytes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, help="ingest this file in this process, beside it")
    asked = parser.parse_args()
    figures = measure(asked.size_mb * 10**6, asked.seed) if asked.file is None else _ingest(asked.file)
    print(json.dumps(figures, indent=2))
