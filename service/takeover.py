"""Takes over running jobs whose owner is gone: their attempts are found again and followed, or the jobs are queued."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from service.jobs import JobState, after_interruption
from service.leases import Lease, Watched, watch
from service.log import about
from service.runner import Attempt, Runners
from service.store import Store
from workers.job import RunningJob

__all__ = ["Takeover"]

AT_ONCE = 50  # jobs that are taken in a row: the last must be followed before the lease on the first has ended
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
        taken = [self._taken(lease) for lease in (leases if self._at_once else over[:AT_ONCE])]
        self._at_once = False
        if attempts := [attempt for attempt in taken if attempt is not None]:
            try:
                self._go_on(attempts)
            except Exception:  # the leases that we have now end too, and then it is tried again
                log.exception("%d jobs that were taken over could not be looked for", len(attempts))

    def _taken(self, lease: Lease) -> Attempt | None:
        """The attempt that the job is at. Of several who try, one becomes the owner."""
        try:
            epoch = self._store.owner.claim(lease)
            if epoch is None:
                return None
            self._runners.telemetry.taken_over()
            attempt = Attempt.at(self._store.any_job(lease.job_id))
        except Exception:
            log.exception("%s could not be taken over", lease.job_id)
            return None
        return attempt if attempt.epoch == epoch else None  # else we were slow, and it is not ours to follow

    def _go_on(self, attempts: Sequence[Attempt]) -> None:
        """Once they are ours, their processes are looked for, of all at once: some may take long to be given up."""
        found = self._runners.find(attempts)
        held, _ = self._store.owner.renew([(attempt.job_id, attempt.epoch) for attempt in attempts])
        for attempt in attempts:
            running = found.get(attempt.job_id)
            with about(**attempt.for_log):
                try:
                    if (attempt.job_id, attempt.epoch) in held:
                        self._follow_or_queue(attempt, running)
                    elif running is not None:  # it took longer than a lease
                        running.leave()
                except Exception:
                    log.exception("%s could not be taken over", attempt.job_id)

    def _follow_or_queue(self, attempt: Attempt, running: RunningJob | None) -> None:
        if running is not None:
            log.info("%s: attempt %d runs still, and is followed from here", attempt.job_id, attempt.number)
            self._runners.launch(attempt, running)
            return
        self._runners.refuse(attempt)
        job = self._store.move(
            attempt.job_id,
            attempt.epoch,
            JobState.RUNNING,
            lambda requested: after_interruption(requested, INTERRUPTED),
        )
        if job is not None and JobState(job.state).is_terminal:
            self._on_terminal(attempt.job_id, JobState(job.state))
