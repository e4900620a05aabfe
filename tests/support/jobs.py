"""Jobs to be stored, without a service."""

from pathlib import Path
from typing import Any

from ulid import ULID

from service.catalog import Catalog, NewDataset
from service.database import DEFAULT_TENANT, Database
from service.submission import NewJob
from shared.plan import Plan
from shared.spec import JobSpec
from shared.table import Column, TableFile

TENANT = DEFAULT_TENANT


def dataset(dataset_id: str, name: str = "numbers", sha256: str = "a" * 64, tenant: str = TENANT) -> NewDataset:
    columns = [Column(name="y", type="number")]
    table = TableFile(dataset_id=dataset_id, path="", rows=3, sha256=sha256, columns=columns)
    return NewDataset(dataset_id, tenant, name, 10, "csv", table, 10)


def with_a_dataset(database: Database, folder: Path) -> Catalog:
    """A catalog that lists the data set `ds_1`."""
    catalog = Catalog(database, folder)
    catalog.add(dataset("ds_1"))
    return catalog


def new_job(
    key: str | None = None,
    request: str = "r",
    dataset_id: str = "ds_1",
    tenant: str = TENANT,
    steps_per_epoch: int = 1,
    **spec: Any,
) -> NewJob:
    counts = dict.fromkeys(("inputs", "outputs", "parameters", "training_rows", "validation_rows", "steps"), 1)
    plan = Plan(
        spec=JobSpec.model_validate({"dataset": "numbers", "target": "y", **spec}),
        classes=None,
        memory_bytes=1,
        disk_bytes=1,
        notes=[],
        steps_per_epoch=steps_per_epoch,
        **counts,
    )
    return NewJob(f"job_{ULID()}", tenant, plan, dataset_id, "a" * 64, None, key, request)
