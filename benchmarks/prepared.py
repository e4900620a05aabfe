"""A job's plan and prepared data without a service, for measuring one part of the engine by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.problem import write_rows
from service.datasets import ReadOptions, ingest
from shared.plan import Plan
from shared.spec import JobSpec
from workers.data import prepare
from workers.planning import plan

__all__ = ["prepared"]


def prepared(folder: Path, rows: int, spec: Mapping[str, Any]) -> tuple[Plan, Path]:
    """The plan for a spec on random rows, all of them trained on, and the folder of its data, as a worker opens it."""
    source, table_folder = write_rows(folder, rows), folder / "table"
    table_folder.mkdir()
    table = ingest(source, "application/x-npz", ReadOptions(), table_folder, "ds_benchmark", "0" * 64)
    planned = plan(JobSpec.model_validate({**spec, "validation": None}), table, None)
    prepare(planned, table, None, folder / "prepared")
    return planned, folder / "prepared"
