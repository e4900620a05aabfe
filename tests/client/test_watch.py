"""A job followed live shows how it is going, in a terminal and in a log."""

import io

import httpx
import pytest
from rich.console import Console

from chainrule import Client, Unreachable
from chainrule.watch import view_on
from support.fake_service import FakeService, event

PROGRESS = {"fraction": 0.5, "step": 1270, "steps": 2540, "epoch": 10, "epochs": 20, "eta_s": 75.0}
METRICS = {"step": 1270, "epoch": 10, "validation_loss": 0.25, "validation_accuracy": 0.861, "samples_per_s": 141000.0}


def followed(service: FakeService, client: Client, *, terminal: bool) -> str:
    """What `follow` prints for a job whose connection breaks once."""
    service.add_job({"name": "[b]adult"}, "running")
    service.streams = [
        [event(1, "state", {"state": "running"}), event(2, "progress", PROGRESS), httpx.ReadError("reset")],
        [event(3, "metrics", METRICS), event(4, "state", {"state": "succeeded"})],
    ]
    service.end = "succeeded"
    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=160, markup=False, highlight=False, color_system=None
    )
    job = client.job("job_01")
    assert job.follow(view_on(job, console)).state == "succeeded"
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_a_bar_that_ends_full(service: FakeService, client: Client) -> None:
    last = followed(service, client, terminal=True).rstrip("\x1b[?25h\n").splitlines()[-1]
    for word in ("[b]adult", "succeeded", "100%", "loss 0.33", "accuracy 86.10%", "141,000 samples/s"):
        assert word in last


def test_a_log_gets_a_line_for_each_measurement_and_each_break(service: FakeService, client: Client) -> None:
    assert followed(service, client, terminal=False).splitlines() == [
        "[b]adult: running",
        "[b]adult: no answer, trying again",
        "[b]adult: epoch 10, step 1,270: validation_loss 0.25, validation_accuracy 0.861, 141,000 samples/s",
        "[b]adult: succeeded",
    ]


def test_a_change_of_cpus_is_told_in_one_line(service: FakeService, client: Client) -> None:
    service.add_job({"name": "adult"}, "running")
    resized = {"workers": 1, "step": 1270, "why": "a job of higher priority needs them"}
    service.streams = [[event(1, "workers", resized), event(2, "state", {"state": "succeeded"})]]
    service.end = "succeeded"
    console = Console(file=io.StringIO(), force_terminal=False, width=160)
    job = client.job("job_01")
    job.follow(view_on(job, console))
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue().splitlines()
    assert "adult: computes on 1 CPU from step 1,270 on: a job of higher priority needs them" in told


@pytest.mark.parametrize("terminal", [True, False])
def test_a_paused_job_is_followed_on(service: FakeService, client: Client, terminal: bool) -> None:
    service.add_job({}, "paused")
    service.streams = [
        [event(1, "state", {"state": "paused", "reason": "asked to"})],
        [event(2, "state", {"state": "failed"})],
    ]
    service.end = "failed"
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    job = client.job("job_01")
    assert job.follow(view_on(job, console)).state == "failed"
    assert not service.streams


@pytest.mark.parametrize(
    ("kind", "data", "state"),
    [
        ("progress", PROGRESS, "queued: 3 CPUs are needed"),
        ("metrics", METRICS, "queued: 3 CPUs are needed"),
        ("workers", {"workers": 2, "step": 1, "why": "free"}, "running on 2 CPUs"),
    ],
)
def test_a_bar_tells_the_state_again_once_the_service_answers(
    service: FakeService, client: Client, kind: str, data: dict[str, object], state: str
) -> None:
    service.add_job({"name": "adult"}, "queued")
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    with view_on(client.job("job_01"), console) as bar:
        bar.show("state", {"state": "queued", "reason": "3 CPUs are needed"})
        bar.broken(Unreachable("http://service", "reset"))
        bar.show(kind, data)
    assert isinstance(console.file, io.StringIO)
    last = console.file.getvalue().rstrip("\x1b[?25h\n").splitlines()[-1]
    assert state in last
    assert "no answer" not in last


HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"  # what happens to the cursor


def test_bars_that_are_open_at_once_on_a_terminal_share_its_cursor(service: FakeService, client: Client) -> None:
    terminal = io.StringIO()
    for name in ("adult", "wine", "digits"):
        service.add_job({"name": name}, "running")
    adult, wine, digits = (
        view_on(client.job(f"job_0{number}"), Console(file=terminal, force_terminal=True, width=160, color_system=None))
        for number in (1, 2, 3)
    )
    with wine:
        with adult:
            adult.show("progress", PROGRESS)
            adult.show("state", {"state": "failed"})
            assert (terminal.getvalue().count(HIDDEN), terminal.getvalue().count(SHOWN)) == (1, 0)
        with digits:
            digits.show("state", {"state": "paused"})
        wine.show("state", {"state": "succeeded"})
    assert (terminal.getvalue().count(HIDDEN), terminal.getvalue().count(SHOWN)) == (1, 1)
    ended = [line for line in terminal.getvalue().replace(SHOWN, "").splitlines() if "succeeded" in line]
    assert "wine" in ended[-1]
    above = [line for line in terminal.getvalue().splitlines() if "failed" in line or "paused" in line]
    assert [("adult" in line, "50%" in line) for line in above if "failed" in line][-1] == (True, True)
    assert "digits" in above[-1]


def test_a_bar_that_is_opened_after_another_was_closed_has_a_line_of_its_own(
    service: FakeService, client: Client
) -> None:
    terminal = io.StringIO()
    service.add_job({"name": "adult"}, "running")
    for _ in range(2):
        with view_on(client.job("job_01"), Console(file=terminal, force_terminal=True, width=160)):
            pass
    assert (terminal.getvalue().count(HIDDEN), terminal.getvalue().count(SHOWN)) == (2, 2)
