"""A cancel races with the job's end, over HTTP.

One wins, once, and the other is told: a cancelled job has no model, a job that succeeded has the same bits as ever, a
cancel is a 409 where it came too late, and only there.
"""

import time

from chainrule import Conflict, Job, NotFound
from chaos.records import Finding
from chaos.run import Run
from chaos.service import Service, running
from chaos.tally import Tally

__all__ = ["measure"]

TERMINAL = ("cancelled", "failed", "succeeded")


def measure(run: Run) -> Finding:
    with running(run) as service:
        tally = Tally(service, "races", run.amount(300, quick=10))
        spec = service.spec(epochs=2, workers=1)
        digest, took_s = service.undisturbed(spec), _takes_s(service.client.wait(service.client.submit(spec).id))
        won = 0
        while not tally.enough:
            job_id = service.client.submit(spec).id
            time.sleep(run.draw.uniform(0.0, 1.3 * took_s))
            too_late = False
            try:
                service.client.cancel(job_id)
            except Conflict:
                too_late = True
            job = service.client.wait(job_id)
            if job.state == "succeeded" and not too_late:
                tally.broken.append(f"{job_id} has succeeded, and its cancel was taken")
            if job.state == "cancelled" and not too_late:
                won += 1
                tally.jobs += 1
                _must_have_no_model(service, tally, job)
            else:
                tally.takes(job, digest)
            ends = [move.to for move in service.client.history(job_id) if move.to in TERMINAL]
            if ends != [job.state]:
                tally.broken.append(f"{job_id} is {job.state}, and its history ends {len(ends)} times: {ends}")
            tally.count()
        return tally.finding(notes=[f"{won} cancels won, {tally.disturbances - won} jobs ended first"])


def _takes_s(job: Job) -> float:
    """Seconds from a job's submit to its end."""
    assert job.finished_at is not None, "it has ended"
    return (job.finished_at - job.created_at).total_seconds()


def _must_have_no_model(service: Service, tally: Tally, job: Job) -> None:
    try:
        service.client.model_metadata(job.id)
    except (Conflict, NotFound):
        return
    tally.broken.append(f"{job.id} is cancelled and has a model")
