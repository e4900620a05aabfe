"""Takes the database away from a service for a while, in the middle of a job."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx

from chaos.records import Finding
from chaos.service import Service
from chaos.tally import Tally
from chaos.watch import GIVES_UP_AFTER_S, Watch

__all__ = ["outage"]

REFUSES_WITHIN_S = 25.0  # the service waits for a locked database for 20 s
CATCHES_UP_S = 2.0  # from the end of an outage until all that was trained meanwhile must have been told


def outage(service: Service, away: AbstractContextManager[object], away_s: float) -> Finding:
    """One outage: the database is away while `away` is entered, for so many seconds; a job trains, one is submitted."""
    run, tally = service.run, Tally(service, f"outage of {away_s:.0f} s", 1)
    spec, small = service.spec(run.amount(6000, quick=1000)), service.spec(2, workers=1, priority=-1)
    digest, small_digest = service.undisturbed(spec), service.undisturbed(small)
    watch = Watch(service.url, service.client.submit(spec).id, away_s + GIVES_UP_AFTER_S)
    watch.goes_on(since=0.0)
    watch.is_over_within(run.draw.uniform(0.0, 1.0))
    before_s = _trained_s(service, watch.job_id)
    with ThreadPoolExecutor(1) as pool:
        with away:
            submit = pool.submit(_submit, service, small)
            watch.is_over_within(away_s)
        back_at = time.monotonic()
        answer = submit.result()
    went_on_at = watch.goes_on(back_at)
    if went_on_at is not None:  # else it had ended meanwhile, and shows nothing
        tally.count(went_on_at - back_at)
    watch.is_over_within(CATCHES_UP_S)
    trained_s = _trained_s(service, watch.job_id) - before_s
    if not watch.is_over_within(0) and trained_s < away_s / 2:
        tally.broken.append(f"in {away_s:.0f} s without a database it trained for {trained_s:.1f} s only")
    if answer.status_code == 503 and "Retry-After" in answer.headers:
        tally.notes.append(f"a submit was told 503 after {answer.elapsed.total_seconds():.1f} s")
    elif answer.status_code == 202 and away_s < REFUSES_WITHIN_S:
        tally.ends(answer.json()["id"], small_digest)
    else:
        retry = "with" if "Retry-After" in answer.headers else "without"
        tally.broken.append(f"a submit was told {answer.status_code} {retry} Retry-After: {answer.text}")
    tally.ends(watch.job_id, digest)
    if (attempt := service.client.job(watch.job_id).attempt) != 1:
        tally.broken.append(f"its attempt was lost: it ended in attempt {attempt}")
    return tally.finding()


def _trained_s(service: Service, job_id: str) -> float:
    """The seconds that the job has trained so far, by the newest item of its metrics."""
    items = service.client.metrics(job_id)
    return float(items[-1]["elapsed_s"]) if items else 0.0


def _submit(service: Service, spec: Mapping[str, Any]) -> httpx.Response:
    """One submit as it is, without the client's patience."""
    url = f"{service.url}/v1/jobs"
    return httpx.post(url, json=spec, headers=service.bearer(), timeout=120.0, trust_env=False)
