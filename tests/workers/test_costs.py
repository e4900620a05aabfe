"""What a training takes follows from its sizes."""

from shared.spec import JobSpec
from workers.costs import costs_of
from workers.order import ROWS_IN_MEMORY


def disk_bytes(rows: int, *, shuffle: bool) -> int:
    spec = JobSpec.model_validate({"dataset": "d", "target": "y", "shuffle": shuffle})
    return costs_of(spec, 10, 1, rows, 0, stored_bytes=4).disk_bytes


def test_the_order_of_many_rows_is_counted_on_disk() -> None:
    assert disk_bytes(ROWS_IN_MEMORY, shuffle=True) == disk_bytes(ROWS_IN_MEMORY, shuffle=False)
    many = ROWS_IN_MEMORY + 1
    assert disk_bytes(many, shuffle=True) - disk_bytes(many, shuffle=False) == many * 32
