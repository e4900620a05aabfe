"""What a training takes follows from its sizes."""

from shared.spec import JobSpec
from workers.costs import PROCESS_BYTES, costs_of
from workers.order import ROWS_IN_MEMORY


def disk_bytes(rows: int, *, shuffle: bool) -> int:
    spec = JobSpec.model_validate({"dataset": "d", "target": "y", "shuffle": shuffle})
    return costs_of(spec, 10, 1, rows, 0, stored_bytes=4).disk_bytes


def memory_bytes(workers: int, *, shards: int) -> int:
    fields = {"dataset": "d", "target": "y", "layers": [], "shards": shards, "batch_size": 32}
    spec = JobSpec.model_validate({**fields, "workers": {"min": workers, "max": workers}})
    return costs_of(spec, 10, 1, 100, 0, stored_bytes=4).memory_bytes


def test_the_order_of_many_rows_is_counted_on_disk() -> None:
    assert disk_bytes(ROWS_IN_MEMORY, shuffle=True) == disk_bytes(ROWS_IN_MEMORY, shuffle=False)
    many = ROWS_IN_MEMORY + 1
    assert disk_bytes(many, shuffle=True) - disk_bytes(many, shuffle=False) == many * 32


def test_a_job_has_as_many_processes_as_workers_that_have_a_shard() -> None:
    """The first worker computes in the coordinator's process, which has the parameter server in it too."""
    memory = {workers: memory_bytes(workers, shards=4) for workers in (1, 2, 3, 4, 5)}
    assert PROCESS_BYTES < memory[1] < PROCESS_BYTES + 1_000_000
    assert [memory[workers] // PROCESS_BYTES for workers in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 4]
