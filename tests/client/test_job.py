"""A job is an object that one waits for, moves, and looks into."""

import asyncio
import subprocess
import sys
import traceback
from typing import Any

import httpx
import pandas
import polars
import pytest

from chainrule import AsyncClient, Client, Conflict, Job, NotEnded
from chainrule.frames import frame
from support.fake_service import FakeService, event, problem

SPEC: dict[str, Any] = {"name": "adult", "dataset": "adult"}


@pytest.fixture
def job(service: FakeService, client: Client) -> Job:
    service.add_job(SPEC, "running")
    return client.job("job_01")


def test_what_the_service_answers_is_typed_and_kept(job: Job, service: FakeService) -> None:
    assert (job.id, job.state, job.is_over, job.progress.epoch) == ("job_01", "running", False, 8)
    assert job.created_at.isoformat() == "2026-11-23T10:00:00+00:00"
    assert (job.started_at, job.error, job.latest_metrics["train_loss"]) == (None, None, 0.31)
    assert job.json == service.jobs["job_01"]


def test_waiting_shows_nothing_where_nobody_looks(
    job: Job, service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.jobs["job_01"] = {**service.jobs["job_01"], "state": "succeeded"}
    assert job.wait() is job
    assert job.state == "succeeded"
    assert capfd.readouterr() == ("", "")


def test_waiting_with_progress_writes_lines_where_there_is_no_terminal(
    job: Job, service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.streams = [[event(1, "state", {"state": "running"}), event(2, "state", {"state": "succeeded"})]]
    service.end = "succeeded"
    assert job.wait(progress=True).state == "succeeded"
    assert capfd.readouterr().err.splitlines() == ["adult: running", "adult: succeeded"]


def test_a_service_that_goes_away_as_the_job_ends_is_waited_for(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.add_job(SPEC, "running")
    service.streams = [[event(1, "state", {"state": "succeeded"})]]
    service.end = "succeeded"

    def handle(request: httpx.Request) -> httpx.Response:
        answer = service.handle(request)
        if request.url.path.endswith("/events"):
            answer.read()
            service.answers = [httpx.ConnectError("refused"), problem(503, "Service Unavailable", "starting")]
        return answer

    with Client("http://service", transport=httpx.MockTransport(handle), sleep=lambda _: None) as client:
        assert client.job("job_01").wait(progress=True).state == "succeeded"
    assert capfd.readouterr().err.splitlines() == ["adult: succeeded"]


def test_an_interrupted_wait_says_that_the_job_goes_on_and_how_to_find_it(service: FakeService) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    service.add_job(SPEC, "running")
    with Client("http://service", transport=service.transport(), sleep=interrupt) as client:
        job = client.job("job_01")
        with pytest.raises(KeyboardInterrupt) as interrupted:
            job.wait()
    told = "".join(traceback.format_exception(interrupted.value))
    assert "job_01 goes on: client.job('job_01') finds it, to wait() again or to cancel()" in told
    assert [request.method for request in service.requests] == ["GET"] * 2
    assert service.jobs["job_01"]["state"] == "running"


def test_a_wait_whose_task_is_cancelled_says_so_too(service: FakeService) -> None:
    async def cancelled(_: float) -> None:
        raise asyncio.CancelledError

    async def wait() -> None:
        async with AsyncClient("http://service", transport=service.async_transport(), sleep=cancelled) as client:
            await (await client.job("job_01")).wait()

    service.add_job(SPEC, "running")
    with pytest.raises(asyncio.CancelledError) as ended:
        asyncio.run(wait())
    assert "job_01 goes on" in "".join(traceback.format_exception(ended.value))


def test_following_gives_up_after_its_timeout(job: Job) -> None:
    with pytest.raises(NotEnded, match="job_01 has not ended within 0 s"):
        list(job.events(timeout_s=0))


def test_a_job_knows_its_state_after_each_move(job: Job, service: FakeService) -> None:
    assert job.pause().state == "paused"
    assert job.resume().state == "queued"
    assert job.cancel().state == "cancelled"
    service.jobs["job_01"]["state"] = "succeeded"
    assert job.refresh().is_over
    with pytest.raises(Conflict):
        job.pause()
    job.delete()
    assert service.jobs == {}


def test_metrics_are_a_frame_of_the_library_that_is_there(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = job.metrics()
    assert isinstance(metrics, pandas.DataFrame)
    assert list(metrics["epoch"]) == list(range(1, 13))
    monkeypatch.setattr("chainrule.frames.find_spec", lambda name: name == "polars")
    assert isinstance(frame([{"epoch": 1}, {"epoch": 2, "x": 0.5}]), polars.DataFrame)
    monkeypatch.setattr("chainrule.frames.find_spec", lambda name: None)
    assert frame([{"epoch": 1}]) == [{"epoch": 1}]


def test_a_plot_has_a_line_for_each_loss(job: Job) -> None:
    from matplotlib.figure import Figure

    from chainrule.plot import draw

    axes = draw([{"step": 10, "epoch": 1, "train_loss": 2.0, "validation_loss": 3.0}] * 2, 10, Figure().subplots())
    assert [line.get_label() for line in axes.lines] == ["training", "validation"]
    assert job.plot(Figure().subplots()).lines[0].get_xdata()[-1] == 12


def test_a_program_that_only_submits_loads_no_numpy_and_no_table(tmp_path: Any) -> None:
    heavy = "{'numpy', 'pandas', 'polars', 'pyarrow', 'matplotlib', 'IPython', 'sklearn'}"
    code = f"import sys, chainrule; chainrule.Client('http://x'); assert not {heavy} & set(sys.modules), sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("client.model('job_01')", "a model needs numpy: pip install numpy"),
        ("client.train({'a': [1]}, target='a')", "this table needs numpy: pip install numpy"),
        ("client.predict('job_01', {'a': [1]})", "this table needs numpy: pip install numpy"),
        ("import chainrule.sklearn", "the estimators need scikit-learn: pip install scikit-learn"),
    ],
)
def test_what_needs_numpy_says_how_to_install_it(code: str, says: str) -> None:
    program = f"""
import sys
sys.modules |= {{"numpy": None, "pyarrow": None}}  # as if they were not installed
from chainrule import ChainruleError, Client
client = Client("http://service")
try:
    {code}
except ChainruleError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == says
