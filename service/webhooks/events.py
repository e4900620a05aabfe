"""What is told about: the kinds of events, which webhook wants which, and what it is sent."""

import json
from collections.abc import Mapping
from typing import Any

from service.jobs import JobState

__all__ = ["EVENTS", "OF_THE_JOB", "PING", "data_of", "envelope", "event_of", "wants"]

Json = dict[str, Any]

EVENTS: tuple[str, ...] = tuple(f"job.{state}" for state in JobState)
"""One for each state that a job may come to."""
PING = "ping"
"""Sent by hand, to see whether it arrives."""

OF_THE_JOB = ("id", "name", "metrics", "parameters_sha256", "error", "created_at", "started_at", "finished_at")
OF_THE_MOVE = ("from", "state", "reason", "attempt")


def event_of(told: Mapping[str, Any]) -> str:
    """The kind of event that a move is, by its entry in the job's history."""
    return f"job.{JobState(told['to'])}"


def wants(webhook: Any, event: str, labels: Mapping[str, str]) -> bool:
    """Whether a webhook asked for that event of a job with those labels; all of its own must be among them."""
    return event in webhook.events and webhook.labels.items() <= labels.items()


def envelope(event: str, timestamp: str, data: Mapping[str, Any]) -> str:
    """The body that is signed and sent, as JSON without white space."""
    body = {"type": event, "timestamp": timestamp, "data": data}
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def data_of(job: Any, labels: Mapping[str, str], seq: int, told: Mapping[str, Any]) -> Json:
    """What is told of a job's move: what most receivers need, and never the spec, which may be a megabyte."""
    job_itself = {name: getattr(job, name) for name in OF_THE_JOB}
    return job_itself | {"labels": dict(labels), "seq": seq} | {name: told[name] for name in OF_THE_MOVE}
