"""What holds for all tests."""

import os
from typing import Any

import pytest

# Ray gives its processes a niceness of 15: beside the suite's other process, which is always busy, jobs would have a
# thirtieth of a core, and tests that train would take many times as long.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (Ray's name)

ONE_SERVICE = "tests/end_to_end"  # whose tests share a service


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that train on a cluster come first: the last one of a run, which keeps a process alone, is to be short."""
    trains = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in trains)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """A process gets file by file, and those that share a service all in one: a service takes ten seconds to start."""
    from xdist.scheduler import LoadFileScheduling

    class ByService(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return ONE_SERVICE if file.startswith(ONE_SERVICE) else file

    return ByService(config, log)
