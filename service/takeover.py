"""Takes over running jobs whose owner is gone: their attempts are found again and followed, or the jobs are queued."""

import logging
import time
from collections.abc import Callable, Mapping

from service.jobs import JobState, after_interruption
from service.leases import Lease, Watched, watch
from service.log import about
from service.runner import Attempt, Runners
from service.store import Store

__all__ = ["Takeover"]

INTERRUPTED = "the service was interrupted; resumes from its checkpoint"

log = logging.getLogger("chainrule")


class Takeover:
    """Looks at the leases of all jobs that do not run here. Where nobody else can be the owner, as the data folder is
    locked, the first look is `at_once`: it waits for no lease to end."""

    def __init__(
        self,
        store: Store,
        runners: Runners,
        on_terminal: Callable[[str, JobState], None],
        *,
        at_once: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._runners, self._on_terminal, self._clock = store, runners, on_terminal, clock
        self._at_once = at_once
        self._watched: Mapping[str, Watched] = {}

    def look(self) -> None:
        """Takes the jobs whose leases are over. Called by the thread that also starts jobs."""
        here = [runner.attempt.job_id for runner in self._runners.now()]
        leases = self._store.owner.leases(here)
        self._watched, over = watch(self._watched, leases, self._clock())
        for lease in leases if self._at_once else over:
            try:
                self._take(lease)
            except Exception:  # the lease that we have now ends too, and then it is tried again
                log.exception("%s could not be taken over", lease.job_id)
        self._at_once = False

    def _take(self, lease: Lease) -> None:
        """Of several who try, one becomes the owner. Only then are the attempt's processes looked for."""
        epoch = self._store.owner.claim(lease)
        if epoch is None:
            return
        self._runners.telemetry.taken_over()
        attempt = Attempt.at(self._store.any_job(lease.job_id))
        if attempt.epoch != epoch:  # we were slow, and somebody else has claimed it since: it is not ours to follow
            return
        with about(**attempt.for_log):
            self._follow_or_queue(attempt, epoch)

    def _follow_or_queue(self, attempt: Attempt, epoch: int) -> None:
        running = self._runners.find(attempt)
        if not self._store.owner.renew([(attempt.job_id, epoch)])[0]:  # it took longer than a lease
            if running is not None:
                running.leave()
            return
        if running is not None:
            log.info("%s: attempt %d runs still, and is followed from here", attempt.job_id, attempt.number)
            self._runners.launch(attempt, running)
            return
        job = self._store.move(
            attempt.job_id, epoch, JobState.RUNNING, lambda requested: after_interruption(requested, INTERRUPTED)
        )
        if job is not None and JobState(job.state).is_terminal:
            self._on_terminal(attempt.job_id, JobState(job.state))
