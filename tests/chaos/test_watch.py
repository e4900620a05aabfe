"""A job trains again once a step is told that was not done before."""

from typing import Any

import pytest

from chainrule import Event
from chaos.watch import Hung, Watch, steps_done
from examples.service_process import free_port


def told(kind: str, **data: Any) -> Event:
    return Event(type=kind, data=data, id="")


def test_what_an_attempt_tells_as_it_opens_is_no_step_of_it() -> None:
    events = [
        told("state", state="running"),
        told("progress", step=0),
        told("metrics", step=10),
        told("progress", step=14),
        told("state", state="queued"),
        told("state", state="running"),
        told("metrics", step=10),  # as it was not told before the kill
        told("progress", step=12),
        told("workers", step=13),
        told("progress", step=15),
    ]
    assert [events.index(event) for event in steps_done(events)] == [2, 3, 9]


def test_a_service_that_is_gone_for_too_long_is_no_job_that_has_ended() -> None:
    watch = Watch(f"http://127.0.0.1:{free_port()}", "job_a", patience_s=0.0)
    with pytest.raises(Hung, match="job_a could not be followed any more"):
        watch.goes_on(since=0.0)
    with pytest.raises(Hung, match="job_a could not be followed any more"):
        watch.is_over_within(0.0)
