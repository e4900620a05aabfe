"""Where a job stands is told in words, and shown while it is followed."""

import io
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from chainrule import Client
from chainrule.notebook import job_html
from chainrule.places import ordinal, place_text
from chainrule.records import QueuePlace
from chainrule.watch import view_on
from support.fake_service import FakeService, event

NOW = datetime(2026, 11, 27, 9, 5).astimezone()


def place(position: int, in_h: float | None = None) -> QueuePlace:
    start = None if in_h is None else (NOW + timedelta(hours=in_h)).isoformat()
    return QueuePlace.of({"position": position, "estimated_start_at": start})


def test_ordinals_end_as_one_says_them() -> None:
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 112, 1_003)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th", "1,003rd"]
    )


def test_a_place_is_told_with_its_start_as_far_as_that_is_known() -> None:
    assert place_text(place(3), NOW) == "3rd in the queue"
    assert place_text(place(3, 5), NOW) == "3rd in the queue, starts about 14:05"
    assert place_text(place(3, 29), NOW) == "3rd in the queue, starts about 2026-11-28 14:05"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_job_that_is_followed_shows_its_place_until_it_runs(
    service: FakeService, client: Client, terminal: bool
) -> None:
    job_id = service.add_job({"name": "adult"})["id"]
    waiting = [{"position": position, "estimated_start_at": None} for position in (3, 3, 2)]
    service.queues, service.end = [*waiting, None], "succeeded"
    service.streams = [[event(1, "state", {"state": "succeeded"})]]
    job = client.job(job_id)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160, color_system=None)
    assert job.follow(view_on(job, console)).state == "succeeded"
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert told.index("3rd in the queue") < told.index("2nd in the queue") < told.index("succeeded")


def test_a_notebook_shows_the_place(service: FakeService, client: Client) -> None:
    service.add_job({"name": "adult"})["queue"] = {"position": 2, "estimated_start_at": None}
    assert "queued: 2nd in the queue" in job_html(client.job("job_01"))
