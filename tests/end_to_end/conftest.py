"""One service for all end-to-end tests that do not kill it."""

from collections.abc import Iterator

import pytest

from support.running_service import RunningService


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """8 CPUs on paper, so that 8 workers run on a machine of 2. It ends with the last of these tests.

    Its jobs have Ray's niceness: without, one on 8 workers may have ended before the last of them has started.
    """
    niceness = {"RAY_worker_niceness": "15"}
    running = RunningService(tmp_path_factory.mktemp("service"), cpus=8, environment=niceness).start()
    try:
        yield running.until_ready()
    finally:
        running.stop()
