"""A client finds the service that runs on this machine, at whichever port, unless it is told of another."""

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chainrule import Client, InvalidInput
from chainrule.cli import app
from service.registration import registered


@pytest.fixture(autouse=True)
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The records of a user who runs nothing yet."""
    monkeypatch.delenv("CHAINRULE_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "chainrule" / "services"


def runs(folder: Path, port: int, pid: int | None = None) -> None:
    """Notes a service as it notes itself."""
    with registered(f"http://127.0.0.1:{port}", port, folder):
        record = folder / f"{port}.json"
        noted = json.loads(record.read_text())
    record.write_text(json.dumps(noted | {"pid": pid or os.getpid()}))


def test_the_url_comes_from_the_argument_then_the_environment_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client().url == "http://127.0.0.1:8400"
    monkeypatch.setenv("CHAINRULE_URL", "http://elsewhere:1/")
    assert Client().url == "http://elsewhere:1"
    assert Client("http://here:2").url == "http://here:2"
    for wrong in ("localhost:8400", "http://127.0.0.1:84o0", "ftp://here", "http://[::1"):
        with pytest.raises(InvalidInput, match=f"url: got {re.escape(wrong)}, expected an address"):
            Client(wrong)


def test_the_only_service_that_runs_is_found_at_any_port(
    services: Path, dead_process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(services, 9001)
    runs(services, 9002, dead_process)
    assert Client().url == "http://127.0.0.1:9001"
    assert Client("http://here:2").url == "http://here:2"
    monkeypatch.setenv("CHAINRULE_URL", "http://elsewhere:1")
    assert Client().url == "http://elsewhere:1"


def test_of_several_services_the_usual_port_is_taken_else_they_are_listed(services: Path) -> None:
    runs(services, 9001)
    runs(services, 9002)
    listed = "expected one of the services .*: http://127.0.0.1:9001, http://127.0.0.1:9002"
    with pytest.raises(InvalidInput, match=f"url: got null, {listed}"):
        Client()
    told = CliRunner().invoke(app, ["version"])
    assert (told.exit_code, "http://127.0.0.1:9001, http://127.0.0.1:9002" in told.stderr) == (2, True)
    runs(services, 8400)
    assert Client().url == "http://127.0.0.1:8400"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"pid": 1, "url": "http://127.0.0.1:9001"}', f'{{"pid": {10**30}}}']
)
def test_a_record_that_is_none_is_no_service(services: Path, content: str) -> None:
    services.mkdir(parents=True)
    (services / "9001.json").write_text(content)
    assert Client().url == "http://127.0.0.1:8400"


def test_the_command_line_asks_the_service_that_runs(services: Path) -> None:
    runs(services, 9)  # discard: nothing listens there
    told = CliRunner().invoke(app, ["version"])
    assert (told.exit_code, "no answer from http://127.0.0.1:9 " in told.stderr) == (5, True)
