"""On how many CPUs a job computed when another one started is told from its log."""

from datetime import UTC, datetime, timedelta

import pytest

from chainrule import LogLine
from chaos.preemptions import cpus_at

BEGAN = datetime(2026, 11, 28, tzinfo=UTC)
TOLD = [
    (0.0, "running: started on 2 CPUs"),
    (1.0, "computes with 2 workers, BLAS kernel Haswell; starts from the beginning"),
    (2.0, "computes on 1 CPU from step 1,068 on: makes room for another job"),
    (3.0, "the checkpoint of step 1,100 is written: 3.1 kB in 0.01 s"),
    (4.0, "paused: preempted by job_b (priority 5); resumes by itself when 1 CPU is free"),
    (5.0, "running: resumed on 1 CPU"),
    (6.0, "computes with 1 worker on 10.0.0.2, BLAS kernel Haswell; resumes from the checkpoint of step 1,200"),
    (7.0, "queued: the coordinator died; resumes from its checkpoint"),
]


@pytest.mark.parametrize(
    ("after_s", "cpus"), [(0.5, 0), (1.5, 2), (2.0, 1), (3.5, 1), (4.5, 0), (5.5, 0), (6.5, 1), (7.5, 0)]
)
def test_a_job_computes_on_as_many_cpus_as_it_told_last_and_on_none_once_it_has_stopped(
    after_s: float, cpus: int
) -> None:
    same = {"level": "info", "source": "coordinator", "attempt": 1}
    lines = [
        LogLine.of({"seq": seq, "at": (BEGAN + timedelta(seconds=at)).isoformat(), "message": message, **same})
        for seq, (at, message) in enumerate(TOLD, 1)
    ]
    assert cpus_at(lines, BEGAN + timedelta(seconds=after_s)) == cpus
