"""Numbers, sizes and times are shown as people read them."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from chainrule import Client, Prediction
from chainrule.show import (
    age_text,
    bytes_text,
    datasets_table,
    deliveries_table,
    duration_text,
    jobs_table,
    keys_table,
    metrics_table,
    number_text,
    predictions_table,
    quotas_table,
    webhooks_table,
)
from chainrule.text import plain
from support.fake_service import NO_QUOTA, FakeService


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (0.0, "0"),
        (32561, "32,561"),
        (0.123456, "0.1235"),
        (1.5e-12, "1.50e-12"),
        (141000.4, "141,000"),
        (-2.5, "-2.5"),
        (3e15, "3.00e+15"),
        (True, "True"),
        ("<=50K", "<=50K"),
    ],
)
def test_a_number_is_as_short_as_it_stays_readable(value: Any, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (-0.2, "0.0 s"),
        (3.14, "3.1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (75, "1 min 15 s"),
        (7_260, "2 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (3_551_168, "3.6 MB"), (2 * 10**9, "2.0 GB"), (10**15, "1000.0 TB")]
)
def test_a_size_is_in_its_largest_unit(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_an_age_counts_from_a_time_in_utc() -> None:
    created = datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert age_text(created, created + timedelta(minutes=2)) == "2 min"
    assert age_text(created, created + timedelta(days=4, hours=11)) == "4 d"


def shown(table: RenderableType, width: int) -> list[str]:
    """The lines of a table in a terminal of that width."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


ULID = "01KF4Q2M5C9ZB7W3X8Y6V1T0N"


def full(service: FakeService) -> None:
    """A service with something long of everything."""
    for number, state in enumerate(["running", "succeeded", "queued"]):
        job = service.add_job({"name": "wine quality, two layers and dropout"}, state)
        job |= {"id": f"job_{ULID}{number}", "queue": None}
    job["queue"] = {"position": 1203, "estimated_start_at": None}
    for number in range(3):
        name = f"wine-quality-white-{number}"
        service.datasets[name] = {
            **{"id": f"ds_{ULID}{number}", "name": name, "version": 12, "rows": 48_842_000, "size_bytes": 3_551_168},
            **{"created_at": "2026-11-23T10:00:00Z", "columns": []},
        }
        service.made_keys[f"key_1a2b3c4{number}"] = {
            **{"id": f"key_1a2b3c4{number}", "name": "the laptop of somebody", "tenant": "risk", "scopes": ["submit"]},
            **dict.fromkeys(("created_at", "expires_at", "revoked_at"), "2026-11-23T10:00:00.123456Z"),
        }
        service.quotas[f"team-with-a-long-name-{number}"] = {**dict.fromkeys(NO_QUOTA), "queued_jobs": 100_000}
        service.add_delivery("failed", "the receiver answered 500 Internal Server Error")["id"] = f"dlv_{ULID}{number}"


def listed(client: Client) -> dict[str, RenderableType]:
    client.webhooks.create("https://hooks.example.com/services/T0000/B0000/chainrule-events")
    return {
        "jobs": jobs_table(client.jobs()),
        "datasets": datasets_table(client.datasets()),
        "keys": keys_table(client.keys()),
        "quotas": quotas_table(client.tenants()),
        "webhooks": webhooks_table(client.webhooks.list()),
        "deliveries": deliveries_table(client.webhooks.deliveries("wh_00")),
    }


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_fit_their_terminal_and_break_no_id_number_or_state(
    service: FakeService, client: Client, width: int
) -> None:
    full(service)
    tables = {name: shown(table, width) for name, table in listed(client).items()}
    for name, lines in tables.items():
        assert max(map(len, lines)) <= width
        assert {"jobs": 5, "datasets": 5, "keys": 5, "quotas": 6}.get(name, len(lines)) == len(lines), lines
    whole = {
        "jobs": [f"job_{ULID}2", "queued (1,203rd)", "succeeded", "42%", "0.33"],
        "datasets": [f"ds_{ULID}0", "48,842,000", "3.6 MB", "12"],
        "keys": ["key_1a2b3c40", "risk", "submit", "revoked at 2026-11-23"],
        "quotas": ["3 of 100,000", "3.6 MB of 50.0 GB", "1 of ∞"],
        "webhooks": ["job.succeeded", "enabled"],
        "deliveries": [f"dlv_{ULID}1", "ping", "failed"],
    }
    for name, words in whole.items():
        text = "\n".join(tables[name])
        assert [word for word in words if word not in text] == []


def test_a_narrow_table_leaves_out_what_matters_least(service: FakeService, client: Client) -> None:
    full(service)
    tables = listed(client)
    assert shown(tables["jobs"], 120)[0].split() == ["id", "name", "state", "done", "loss", "age"]
    assert shown(tables["jobs"], 78)[0].split() == ["id", "name", "state", "done", "loss"]
    assert shown(tables["datasets"], 80)[0].split() == ["id", "name", "version", "rows", "size", "age"]
    scores = {f"validation_{name}": 0.5 for name in ("loss", "rmse", "mae", "r2")}
    metrics = metrics_table(
        [{"step": 1, "epoch": 1, "elapsed_s": 0.1, "train_loss": 0.5, "learning_rate": 0.1} | scores]
    )
    assert "elapsed" in "".join(shown(metrics, 100))
    narrow = shown(metrics, 80)
    assert "elapsed" not in "".join(narrow)
    assert narrow[-1].split() == ["1", "1", "0.5", "0.1", "0.5", "0.5", "0.5", "0.5"]


def test_a_prediction_shows_its_most_probable_classes() -> None:
    digits = [Prediction.of({"value": 7, "probabilities": {"0": 0.04, "1": 0.01, "7": 0.9, "9": 0.05}})]
    assert shown(predictions_table(digits), 80)[-1].split("  ")[-1] == "7 90.00%, 9 5.00%, 0 4.00%, …"
    numbers = [Prediction.of({"value": {"quality": 6.123456, "alcohol": 11.2}, "probabilities": None})]
    assert [line.split() for line in shown(predictions_table(numbers), 80)[::2]] == [
        ["quality", "alcohol"],
        ["6.123", "11.2"],
    ]
    assert shown(predictions_table([]), 80)[0] == "value"


def test_no_control_character_reaches_the_terminal() -> None:
    assert plain("a\x1b]0;title\x07\r\nb\u202e") == "a�]0;title���b�"
