"""The benchmark of a long queue measures passes that look at all that wait, and start nothing."""

from pathlib import Path

import sqlalchemy as sa

from benchmarks.many_jobs import fill
from benchmarks.queue import divide, passes_s
from service.database import WAITS, Database, jobs
from service.settings import Settings
from support.clusters import ScriptedCluster
from support.service_in_process import WITHIN_S, Service

JOBS, TENANTS = 100, 5


def test_a_pass_tells_jobs_of_all_tenants_why_they_wait_and_starts_none(tmp_path: Path) -> None:
    service = Service(Settings(data_dir=tmp_path / "data"), ScriptedCluster(cpus=2))
    assert service.control.ready.wait(WITHIN_S)
    service.upload()
    job_id = service.submit()["id"]
    service.cluster.next_job().end("succeeded", parameters_sha256="d" * 64)
    service.until(job_id, "succeeded")
    service.stop()
    url = str(service.control.settings.database)
    fill(url, job_id, JOBS + 1, JOBS, cpus=1)
    divide(url, TENANTS)
    assert all(0 < each < WITHIN_S for each in passes_s(url, 3))
    database = Database(url)
    with database.reading() as connection:
        found = connection.execute(sa.select(jobs.c.tenant, jobs.c.state, jobs.c.reason).where(WAITS)).all()
    database.close()
    assert len(found) == JOBS
    assert {row.tenant for row in found if row.reason} == {f"tenant-{number}" for number in range(TENANTS)}
    assert {row.state for row in found} == {"queued"}
