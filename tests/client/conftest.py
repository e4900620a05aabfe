"""A service in memory, and a client that speaks to it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainrule import Client
from support.fake_service import FakeService


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def waits() -> list[float]:
    """How long the client wanted to sleep, each time."""
    return []


@pytest.fixture
def client(service: FakeService, waits: list[float]) -> Iterator[Client]:
    with Client("http://service", transport=service.transport(), sleep=waits.append) as client:
        yield client


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A small CSV file with a missing number and a missing category."""
    path = tmp_path / "people.csv"
    path.write_text("age,workclass,income\n39,State-gov,<=50K\n?,Private,<=50K\n52, ?,>50K\n")
    return path


@pytest.fixture
def dead_process() -> int:
    """The id of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid
