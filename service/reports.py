"""What the reports of an attempt mean for its job: events to append to it, and columns of it to set."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.clock import since_1970
from service.jobs import JobState, state_event
from service.store import Told
from workers.job import Report

__all__ = ["Meaning", "finite", "meaning_of"]


@dataclass
class Meaning:
    """What to write."""

    told: list[Told] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


def meaning_of(reports: Sequence[Report], attempt: int, addresses: Mapping[str, str] | None = None) -> Meaning:
    """What the job's attempt of that number has told.

    Args:
        addresses: of nodes, by id.
    """
    meaning = Meaning()
    for report in reports:
        _add(meaning, report, finite(report.data), attempt, addresses or {})
    # An end is taken in when it has moved the job: until then whoever has the job next is to hear of it too.
    if taken_in := [report.number for report in reports if report.type != "ended"]:
        meaning.values["last_report"] = taken_in[-1]
    return meaning


def _add(meaning: Meaning, report: Report, data: dict[str, Any], attempt: int, addresses: Mapping[str, str]) -> None:
    values, at = meaning.values, since_1970(report.at)

    def tell(kind: str, what: dict[str, Any], step: int | None = None) -> None:
        meaning.told.append(Told(kind, what, step, at, report.number))

    def log(message: str, level: str = "info") -> None:
        tell("log", {"level": level, "source": "coordinator", "message": message})

    if report.type == "log":
        log(data["message"], data["level"])
    elif report.type == "started":
        values |= {"environment": data["environment"], "workers": data["workers"], "cpus_held": data["workers"]}
        log(_started(data, addresses))
    elif report.type == "progress":
        values["progress"] = {key: value for key, value in data.items() if key not in ("metrics", "trained")}
        values["metrics"] = data.get("metrics", {})
        tell("progress", {key: value for key, value in data.items() if key != "trained"})
    elif report.type == "metrics":
        tell("metrics", data, data["step"])
    elif report.type == "workers":
        values |= {"workers": data["workers"], "cpus_held": data.get("cpus", 0)}
        tell("workers", {**data, "at": at})
    elif report.type == "checkpoint":
        values |= {"losses": 0, "internal_errors": 0, "reason": None}  # it mends what trouble there was
        log(_kept(data))
    elif report.type == "trouble":
        values["reason"] = data["reason"]
        tell("state", state_event(JobState.RUNNING, JobState.RUNNING, data["reason"], attempt, at))


def _started(data: Mapping[str, Any], addresses: Mapping[str, str]) -> str:
    """Who computes, where, and from what on."""
    count, begins = data["workers"], data.get("resumed_from_step", 0)
    nodes = Counter(addresses[node] for node in data.get("nodes", ()) if node in addresses)
    if len(nodes) > 1:
        where = " and ".join(f"{workers} on {address}" for address, workers in nodes.items())
        who = f"{count} workers, {where}"
    else:
        who = f"{count} {'worker' if count == 1 else 'workers'}" + "".join(f" on {address}" for address in nodes)
    kernel = data["environment"].get("blas_kernel")
    computes = f"computes with {who}" + (f", BLAS kernel {kernel}" if kernel else "")
    return f"{computes}; {f'resumes from the checkpoint of step {begins:,}' if begins else 'starts from the beginning'}"


def _kept(data: Mapping[str, Any]) -> str:
    message = f"the checkpoint of step {data['step']:,} is written"
    if "size_bytes" not in data:
        return message
    size = data["size_bytes"]
    said = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
    return f"{message}: {said} in {data['duration_s']:.2f} s"


def finite(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
