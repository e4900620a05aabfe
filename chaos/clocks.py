"""The database server's clock jumps a day, forth and back, while one of two control planes that share it has a job.

No lease is over before its time: nobody takes the job from its owner, whose processes go on training.
"""

import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from benchmarks.records import BenchmarkFailed
from chaos.ownership import owned
from chaos.ray_nodes import ray_nodes
from chaos.records import Finding, Skipped
from chaos.run import Run
from chaos.service import running
from chaos.tally import Tally
from chaos.watch import Hung, Watch
from examples.postgresql import PostgreSQL

__all__ = ["measure"]

EPOCHS = 6000  # several jumps long
DAY_S = 86_400
LASTS_S = 10.0  # longer than another control plane watches a lease that is over before it takes the job
SEEN_WITHIN_S = 10.0
LIBRARIES = "x86_64-linux-gnu/faketime", "aarch64-linux-gnu/faketime", "faketime"


def measure(run: Run) -> Finding:
    with ExitStack() as stack:
        clock = _Clock(run.folder / "clock")
        cluster = stack.enter_context(ray_nodes(run, cpus=[2]))
        postgres = stack.enter_context(PostgreSQL(run.folder, environment=clock.environment))
        options = ("--ray-address", cluster.address, "--database-url", postgres.url)
        service, _ = (stack.enter_context(running(run, *options, data_dir=run.folder / "data")) for _ in range(2))
        tally = Tally(service, "jumps", run.amount(20, quick=2))
        spec = service.spec(run.amount(EPOCHS, quick=2000))
        digest = service.undisturbed(spec)
        while not tally.enough:
            job_id = service.client.submit(spec).id
            try:
                while not tally.enough and _jump(run, tally, clock, postgres, Watch(service.url, job_id)):
                    pass
            except Hung as hung:
                tally.jobs += 1
                tally.lose(f"{hung}\n{service.log_tail()}")
                break
            tally.ends(job_id, digest)
        return tally.finding()


def _jump(run: Run, tally: Tally, clock: "_Clock", postgres: PostgreSQL, watch: Watch) -> bool:
    """Sets the server's clock while the job trains, and looks whose the job is then; whether it still trained."""
    if watch.goes_on(since=0.0) is None or watch.is_over_within(run.draw.uniform(0.0, 3.0)):
        return False
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        before = owned(connection, watch.job_id)
        clock.jump(run.draw.choice([-DAY_S, DAY_S]))
        _wait_until_seen(connection, clock)
        jumped_at = time.monotonic()
        over = watch.is_over_within(LASTS_S)
        after = owned(connection, watch.job_id)
    if over:
        return False
    if after != before:
        tally.broken.append(f"{watch.job_id} was taken from its owner: it was {before}, and is {after}")
    told_at = watch.goes_on(jumped_at)
    if told_at is not None:
        tally.count(told_at - jumped_at)
    return not watch.is_over_within(0)


def _wait_until_seen(connection: psycopg.Connection, clock: "_Clock") -> None:
    """Returns once the server's clock is as it was set. Raises BenchmarkFailed."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while time.monotonic() < deadline:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert row is not None
        if abs(row[0] - time.time() - clock.offset_s) < 60:
            return
        time.sleep(0.05)  # the server is not told, it looks
    raise BenchmarkFailed(f"the server's clock did not jump to {clock.offset_s:+d} s within {SEEN_WITHIN_S:.0f} s")


class _Clock:
    """The time as programs see it that were started with its environment. Raises Skipped without libfaketime."""

    def __init__(self, file: Path) -> None:
        candidates = (Path("/usr/lib", folder, "libfaketimeMT.so.1") for folder in LIBRARIES)
        library = next((path for path in candidates if path.is_file()), None)
        if library is None:
            raise Skipped("libfaketime is not installed, which makes a clock jump for one program")
        self._file = file
        self.offset_s = 0
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.jump(0)

    def jump(self, by_s: int) -> None:
        """Within about a second, the time is `by_s` later than it was, or earlier."""
        self.offset_s += by_s
        self._file.write_text(f"{self.offset_s:+d}\n")
        self._file.chmod(0o644)
