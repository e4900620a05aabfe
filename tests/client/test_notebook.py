"""A notebook shows a job as HTML that moves."""

import httpx
import pytest

from chainrule import Client, Job, Unreachable
from chainrule.notebook import NotebookView
from support.fake_service import FakeService, event


@pytest.fixture
def job(service: FakeService, client: Client) -> Job:
    service.add_job({"name": "<b>adult"}, "running")
    return client.job("job_01")


def test_a_job_is_shown_with_its_progress_and_nothing_of_it_is_markup(job: Job) -> None:
    shown = job._repr_html_()
    for part in ("&lt;b&gt;adult", "running", 'value="0.42"', "epoch 8 of 20", "3.1 s left", "train_loss 0.31"):
        assert part in shown


def test_a_job_that_is_followed_ends_with_its_last_state_and_a_chart(job: Job, service: FakeService) -> None:
    metrics = {"step": 127, "epoch": 1, "train_loss": 0.5, "validation_loss": 0.6}
    service.streams = [
        [event(1, "metrics", metrics), httpx.ReadError("reset")],
        [event(2, "metrics", {**metrics, "step": 254, "epoch": 2}), event(3, "state", {"state": "succeeded"})],
    ]
    service.end = "succeeded"
    shown: list[str] = []

    def display(first: str) -> object:
        shown.append(first)
        return shown.append

    job.follow(NotebookView(job, display))  # type: ignore[arg-type]
    assert "running" in shown[0]
    assert "succeeded" in shown[-1]
    assert shown[-1].count("<svg") == 1
    assert "<svg" not in shown[0]


PROGRESS = {"fraction": 0.5, "step": 1270, "steps": 2540, "epoch": 10, "epochs": 20, "eta_s": 75.0}
WORKERS = {"workers": 1, "step": 1270, "why": "a job of higher priority needs them"}
PAUSED = {"state": "paused", "reason": "asked to"}


def test_a_break_a_move_and_a_change_of_cpus_are_shown_at_once(job: Job) -> None:
    shown: list[str] = []

    def display(first: str) -> object:
        shown.append(first)
        return shown.append

    broken = Unreachable("http://service", "reset")
    with NotebookView(job, display) as view:  # type: ignore[arg-type]
        view.show("progress", PROGRESS)
        for tell, expected in [
            (lambda: view.broken(broken), "no answer, trying again"),
            (lambda: view.show("progress", PROGRESS), "> &nbsp; running &nbsp; <"),
            (lambda: view.show("workers", WORKERS), "> &nbsp; running on 1 CPU &nbsp; <"),
            (lambda: view.broken(broken), "no answer, trying again"),
            (lambda: view.show("metrics", {"step": 1, "epoch": 1}), "> &nbsp; running on 1 CPU &nbsp; <"),
            (lambda: view.show("state", PAUSED), "> &nbsp; paused: asked to &nbsp; <"),
        ]:
            tell()
            assert expected in shown[-1]
