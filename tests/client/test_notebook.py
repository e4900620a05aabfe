"""A notebook shows a job as HTML that moves."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from chainrule import Client, Job, Unreachable
from chainrule.chart import svg
from chainrule.notebook import NotebookView
from chainrule.views import view_of
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


# ---------------------------------------------------------------- the chart
def points(chart: str) -> list[list[tuple[float, float]]]:
    """Of each line, in the order that they are drawn in."""
    lines = [one.attrib["points"] for one in ElementTree.fromstring(chart).iter() if one.tag.endswith("polyline")]
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in lines]  # type: ignore[misc]


def test_a_chart_goes_from_the_highest_loss_to_the_lowest_and_to_the_last_epoch() -> None:
    """By hand: epochs 0 to 4 lie from x = 64 to 470, losses 1 to 3 from y = 150 up to 22."""
    training = [{"step": 10 * epoch, "epoch": epoch, "train_loss": loss} for epoch, loss in [(1, 3.0), (4, 1.0)]]
    validated = {"step": 20, "epoch": 2, "train_loss": None, "validation_loss": 2.0}
    chart = svg([training[0], validated, training[1]], 10)
    assert points(chart) == [[(165.5, 22.0), (470.0, 150.0), (470.0, 150.0)], [(267.0, 86.0), (267.0, 86.0)]]
    assert re.findall(r">([^<>]+)</text>", chart) == ["3", "1", "0", "epoch", "4", "training loss", "validation loss"]
    assert 'aria-label="training loss 1, validation loss 2"' in chart


@pytest.mark.parametrize("loss", [0.5, 0.0])
def test_a_single_measurement_is_a_chart_too(loss: float) -> None:
    assert points(svg([{"step": 1, "epoch": 1, "train_loss": loss}], 1)) == [[(470.0, 150.0)] * 2]


def test_a_chart_within_the_first_epoch_says_how_far_into_it() -> None:
    metrics = [{"step": step, "epoch": 1, "train_loss": 1.0 / step} for step in (1000, 2000)]
    assert ">0.4</text>" in svg(metrics, 5000)


def test_a_chart_of_many_epochs_stays_small() -> None:
    metrics = [{"step": epoch, "epoch": epoch, "train_loss": 1 / epoch} for epoch in range(1, 100_001)]
    chart = svg(metrics, 1)
    assert len(chart) < 10_000
    assert points(chart)[0][-1] == (470.0, 150.0)


def test_what_was_not_measured_has_no_chart() -> None:
    assert svg([], 1) == svg([{"step": 1, "epoch": 1, "train_loss": None}], 1) == ""


# ---------------------------------------------------------------- in IPython
@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """IPython's shell as a kernel has it, which keeps what it is told to display."""
    pytest.importorskip("IPython", reason="a notebook needs IPython")
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.display_pub = CapturingDisplayPublisher()
    yield shell
    InteractiveShell.clear_instance()


def test_a_cell_that_waits_shows_one_job_that_moves(shell: Any, job: Job, service: FakeService) -> None:
    service.streams = [[event(1, "progress", PROGRESS), event(2, "state", {"state": "succeeded"})]]
    service.end = "succeeded"
    shell.kernel = "of Jupyter"
    shell.user_ns["job"] = job
    assert shell.run_cell("job.wait()").success
    first, *others = [one for one in shell.display_pub.outputs if one.get("transient")]
    assert not first["update"]
    assert "running" in first["data"]["text/html"]
    assert all(one["update"] and one["transient"] == first["transient"] for one in others)
    assert "succeeded" in others[-1]["data"]["text/html"]


def test_a_shell_without_a_kernel_is_no_notebook(shell: Any, job: Job) -> None:
    assert not isinstance(view_of(job, None), NotebookView)
    shell.kernel = "of Jupyter"
    assert isinstance(view_of(job, None), NotebookView)
