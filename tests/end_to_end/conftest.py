"""One service for all end-to-end tests that do not kill it."""

from collections.abc import Iterator

import pytest

from support.running_service import RunningService


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """8 CPUs on paper, so that 8 workers run on a machine of 2. It ends with the last of these tests."""
    running = RunningService(tmp_path_factory.mktemp("service"), cpus=8).start()
    try:
        yield running.until_ready()
    finally:
        running.stop()
