"""The same submit comes a hundred times at once, over HTTP, with the same Idempotency-Key.

It makes one job, and everybody is told of that one.
"""

from concurrent.futures import ThreadPoolExecutor

import httpx

from chainrule.connection import KEPT_S
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally

__all__ = ["measure"]

AT_ONCE = 100
LIMITS = httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=KEPT_S)


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, f"times {AT_ONCE} at once", run.amount(100, quick=3))
        spec = service.spec(epochs=2, workers=1)
        digest = service.undisturbed(spec)
        before = _jobs(service)
        with (
            httpx.Client(base_url=service.url, headers=service.bearer(), limits=LIMITS, timeout=60.0) as http,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            for number in range(tally.wanted):
                headers = {"Idempotency-Key": f"{run.seed} {number}"}
                sent = [pool.submit(http.post, "/v1/jobs", json=spec, headers=headers) for _ in range(AT_ONCE)]
                answers = [future.result() for future in sent]
                if refused := [answer for answer in answers if answer.status_code not in (200, 202)]:
                    tally.broken.append(f"{len(refused)} were refused, the first with {refused[0].text}")
                told = {answer.json()["id"] for answer in answers if answer not in refused}
                tally.count()
                for job_id in told:
                    tally.ends(job_id, digest)
        if (made := _jobs(service) - before) != tally.wanted:
            tally.broken.append(f"{made} jobs were made, {tally.wanted} were meant")
        return tally.finding()


def _jobs(service: Service) -> int:
    """How many jobs there are."""
    return sum(1 for _ in service.client.jobs())
