"""Quotas on the command line and in the client."""

import json

import pytest
from typer.testing import CliRunner

from chainrule import Client
from chainrule.cli import app
from chainrule.session import ExitCode, Session
from support.fake_service import FakeService


def run(service: FakeService, *arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": None}).invoke(
        app, ["quota", *arguments], obj=Session("http://service", service.transport())
    )
    return result.exit_code, result.output


def test_ones_own_quota_is_shown_with_what_is_used_of_it(service: FakeService) -> None:
    code, shown = run(service)
    assert code == ExitCode.OK
    for word in ("default", "1 of no limit", "3 of 1,000", "3.6 MB of 50.0 GB", "600"):
        assert word in shown
    assert json.loads(run(service, "--json")[1])["usage"]["cpus"] == 2


def test_what_is_not_named_of_a_quota_stays(service: FakeService) -> None:
    service.quotas["risk"] = {**service.quotas["default"], "cpus": 4, "share": 3.0}
    code, shown = run(service, "set", "risk", "--cpus", "default", "--stored-bytes", "2G", "--running-jobs", "0")
    assert (code, "0 of 2.0 GB" in shown or "3.6 MB of 2.0 GB" in shown) == (0, True)
    assert service.quotas["risk"] == {
        **service.quotas["default"],
        "stored_bytes": 2_000_000_000,
        "running_jobs": 0,
        "share": 3.0,
    }
    assert "risk" in run(service, "list")[1]
    assert run(service, "set", "risk", "--max-priority", "-3")[0] == 0
    assert service.quotas["risk"]["max_priority"] == -3


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--cpus", "-1"), ExitCode.REFUSED, "expected a whole number"),
        (("--stored-bytes", "2GiB"), ExitCode.REFUSED, "expected a whole number"),
        (("--max-priority", "1.5"), ExitCode.REFUSED, "expected a whole number"),
        (("--share", "x"), ExitCode.REFUSED, "expected a number"),
        (("--cpus", "1"), ExitCode.NOT_FOUND, "there is no tenant nobody"),
    ],
)
def test_a_mistake_ends_with_a_line(service: FakeService, arguments: tuple[str, ...], code: int, word: str) -> None:
    exit_code, shown = run(service, "set", "nobody", *arguments)
    assert exit_code == code
    assert word in " ".join(shown.split())


def test_the_client_gives_quotas_as_objects(service: FakeService, client: Client) -> None:
    assert client.quota().limits["submits_per_minute"] == 600
    assert client.set_quota("default", cpus=8).limits["cpus"] == 8
    assert [tenant.name for tenant in client.tenants()] == ["default"]
