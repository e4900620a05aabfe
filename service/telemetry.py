"""What a control plane counts of its own work, for Prometheus; what all share is looked up when it is asked for."""

import platform
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import Collector

from service.clock import now, seconds_between
from service.jobs import JobState

__all__ = ["ATTEMPT_ENDS", "NO_ROUTE", "RECOVERIES", "Snapshot", "Telemetry", "route_of"]

NO_ROUTE = "none"
"""The route of a request for what is not there."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ATTEMPT_ENDS = (
    *("succeeded", "failed", "cancelled", "paused"),
    *("lost", "out_of_memory", "internal_error", "not_placed", "interrupted"),
)
RECOVERIES = ("step", "attempt", "takeover")

# Else each counter has a line more that says when it was made: process_start_time_seconds does so for all of them.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAIT_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
STEP_S = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Snapshot(NamedTuple):
    """What is so at this moment; None where it cannot be known now."""

    jobs: Mapping[str, int] | None
    """How many there are in each state, of all tenants."""
    oldest_queued: str | None
    """When the job was submitted that has been queued for longest."""
    nodes: int | None
    cpus: int | None
    cpus_free: int | None
    samples_per_s: float
    event_streams: int
    ready: bool


class Telemetry:
    """The counts of one control plane since it started. Nothing here names a tenant, a job or a user."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        build = {"version": version("chainrule-service"), "python": platform.python_version(), "ray": version("ray")}
        Info("chainrule_build", "Which service this is.", registry=registry).info(build)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"chainrule_{name}", help_text, labels, registry=registry)

        self._requests = counter("http_requests", "Requests that were answered.", "method", "route", "status")
        self._request_s = Histogram(
            "chainrule_http_request_duration_seconds",
            "From a request's head to the head of its answer.",
            ("method", "route"),
            buckets=REQUEST_S,
            registry=registry,
        )
        self._of_route: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._submitted = counter("jobs_submitted", "Jobs that were queued for the first time.")
        self._ended = counter("jobs_ended", "Jobs that ended for good.", "state")
        self._wait_s = Histogram(
            "chainrule_queue_wait_seconds",
            "From a job's submission to its first start.",
            buckets=WAIT_S,
            registry=registry,
        )
        self._attempts = counter("attempts", "Attempts at jobs that ended here, by how they ended.", "end")
        self._recoveries = counter("recoveries", "How often training went on after a loss, by what was lost.", "kind")
        self._workers = counter("worker_changes", "Gradient workers that were lost, or came while a job ran.", "change")
        self._samples = counter("samples", "Rows that were trained on.")
        self._steps = _StepTimes()
        registry.register(self._steps)
        for state in JobState:
            if state.is_terminal:
                self._ended.labels(state)
        for label, values in ((self._attempts, ATTEMPT_ENDS), (self._recoveries, RECOVERIES)):
            for value in values:
                label.labels(value)
        for change in ("lost", "joined"):
            self._workers.labels(change)

    def show(self, look: Callable[[], Snapshot]) -> None:
        """Has what `look` tells added whenever somebody asks; must be called once."""
        self._registry.register(_Looked(look))

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its media type: what `accept` asks for, or Prometheus's text format 0.0.4, also where it asks
        for what is no version."""
        try:
            encode, media_type = choose_encoder(accept.replace('"', ""))  # which a version may be quoted by
            return encode(self._registry), media_type
        except TypeError:  # a version with letters in it cannot be compared
            return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    # ------------------------------------------------------------ what is told
    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the template of its address."""
        key = method, route, status
        known = self._of_route.get(key)
        if known is None:
            method = method if method in METHODS else "other"
            known = self._requests.labels(method, route, status), self._request_s.labels(method, route)
            if method != "other":  # else there would be no end to what is remembered
                self._of_route[key] = known
        known[0].inc()
        known[1].observe(seconds)

    def submitted(self) -> None:
        """A job was queued for the first time."""
        self._submitted.inc()

    def moved(self, to: JobState, created_at: str, started_at: str | None) -> None:
        """A job went to another state; `started_at` is None until it has started once."""
        if to is JobState.RUNNING and started_at is None:
            self._wait_s.observe(max(0.0, seconds_between(created_at, now())))
        elif to.is_terminal:
            self._ended.labels(to).inc()

    def attempt_ended(self, end: str, *, goes_on: bool) -> None:
        """An attempt ended as one of ATTEMPT_ENDS says. `goes_on`: it was lost, and the job is tried again."""
        self._attempts.labels(end).inc()
        if goes_on:
            self._recoveries.labels("attempt").inc()

    def taken_over(self) -> None:
        """A job whose control plane had gone is followed, or queued again, by this one."""
        self._recoveries.labels("takeover").inc()

    def workers_changed(self, *, lost: int, joined: int) -> None:
        """Gradient workers of a running job are gone, so that the others computed the step again; or have come."""
        self._workers.labels("lost").inc(lost)
        self._workers.labels("joined").inc(joined)
        if lost:
            self._recoveries.labels("step").inc()

    def trained(self, steps: int, samples: int, seconds: float) -> None:
        """So many steps on so many rows took so long."""
        self._samples.inc(samples)
        self._steps.add(steps, seconds)


class _StepTimes(Collector):
    """A histogram of steps that are told many at a time: each counts with the mean of its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts, self._sum = [0] * (len(STEP_S) + 1), 0.0

    def add(self, steps: int, seconds: float) -> None:
        if steps > 0:
            with self._lock:
                self._counts[bisect_left(STEP_S, seconds / steps)] += steps
                self._sum += seconds

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        bounds = [*map(str, map(float, STEP_S)), "+Inf"]
        told = HistogramMetricFamily(
            "chainrule_step_duration_seconds", "Steps of training: batches, validation aside.", labels=()
        )
        told.add_metric((), list(zip(bounds, counts, strict=True)), total)
        yield told


class _Looked(Collector):
    """The gauges of a snapshot."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look

    def describe(self) -> list[Metric]:
        return []  # nothing is looked up to register it

    def collect(self) -> Iterator[Metric]:
        found = self._look()
        if found.jobs is not None:
            jobs = GaugeMetricFamily("chainrule_jobs", "Jobs in each state, of all control planes.", labels=["state"])
            for state in JobState:
                jobs.add_metric([state], found.jobs.get(state, 0))
            yield jobs
            waits_s = max(0.0, seconds_between(found.oldest_queued, now())) if found.oldest_queued else 0.0
            yield _gauge("queue_oldest_seconds", "Since the submission of the job that is queued for longest.", waits_s)
        if found.cpus is not None:
            yield _gauge("nodes", "Machines of the cluster that are alive.", found.nodes)
            yield _gauge("cpus", "CPUs of the cluster.", found.cpus)
            yield _gauge("cpus_free", "CPUs that no job holds.", found.cpus_free)
        yield _gauge("samples_per_second", "Rows that the jobs followed here train on.", found.samples_per_s)
        yield _gauge("event_streams", "Event streams that are open here.", found.event_streams)
        yield _gauge("ready", "1 if this control plane takes and runs jobs, as /readyz says.", found.ready)


def _gauge(name: str, help_text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"chainrule_{name}", help_text, value)


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the address that a request asked for, of which there are few; NO_ROUTE where nothing is there."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    if "endpoint" not in scope:
        return NO_ROUTE
    folder = scope.get("root_path")
    return f"{folder}/{{file}}" if folder else str(scope["path"])  # a folder of files; the OpenAPI document
