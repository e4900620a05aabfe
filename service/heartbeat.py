"""Keeps the leases on the jobs that run here, and notices when they cannot be kept."""

import logging
import threading
import time
from collections.abc import Callable

from service.database import AWAY, reason_of
from service.leases import LOOK_S, RENEW_S, must_close
from service.owner import Owner
from service.runner import TAKEN, Runners
from workers.job import StopRequest

__all__ = ["Heartbeat"]

UNREACHABLE = "the database could not be reached, so that another control plane may take the job"

log = logging.getLogger("chainrule")


class Heartbeat:
    """Two threads. One renews leases and looks for what was asked for at other control planes. The other lets go of
    attempts whose leases are about to end, also while the first one waits for a database that does not answer; not so
    where the jobs are not `shared`, as nobody else can take them then."""

    def __init__(
        self, owner: Owner, runners: Runners, clock: Callable[[], float] = time.monotonic, *, shared: bool = True
    ) -> None:
        self._owner, self._runners, self._clock, self._shared = owner, runners, clock, shared
        self._renewed_at = clock() - RENEW_S  # the first renewal is due now
        self._alone = False
        self._is_away = False
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, name="heartbeat", daemon=True),
            threading.Thread(target=self._guard, name="lease-guard", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float) -> None:
        """Ends it, and tells the others that this control plane is gone, if the database answers in time."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(within_s)

    def problem(self) -> str | None:
        """What is wrong with the database, if it does not answer, as everybody may be told: its own words, which hold
        addresses and users, are in the log."""
        silent_s = self._clock() - self._renewed_at
        if self._is_away:
            return "does not answer"
        return f"has not answered for {silent_s:.0f} s" if silent_s > 2 * RENEW_S else None

    def beat(self) -> None:
        """Renews the leases if that is due, and heeds what the database says. Raises one of AWAY."""
        began = self._clock()
        runners = {(runner.attempt.job_id, runner.attempt.epoch): runner for runner in self._runners.now()}
        wanted = {key: runner.wanted for key, runner in runners.items()}
        renews = began - self._renewed_at >= RENEW_S
        if renews:
            held, self._alone = self._owner.renew(runners.keys())
            self._renewed_at = began
            for key in held:
                runners[key].renewed_at = began
        else:
            held = self._owner.asked(runners.keys()) if runners else {}
        for key, runner in runners.items():
            if key not in held:
                runner.abandon(TAKEN)
                continue
            asked = held[key]
            if asked.requested is not None:
                runner.request(_stop_for(asked.requested))
            elif asked.preempted_by is not None:
                runner.preempt(asked.preempted_by)
            elif asked.cpus_wanted != runner.wanted == wanted[key]:  # else we have asked since we looked
                runner.resize(asked.cpus_wanted)

    def guard(self) -> None:
        """Lets go of the attempts whose leases could not be renewed in time."""
        for runner in self._runners.now():
            if must_close(self._clock() - runner.renewed_at, alone=self._alone or not self._shared):
                runner.abandon(UNREACHABLE)

    def _keep(self) -> None:
        while True:
            try:
                self.beat()
                if self._is_away:
                    log.info("the database answers again")
                self._is_away = False
            except AWAY as error:
                if not self._is_away:
                    log.warning("the database does not answer: %s", reason_of(error))
                self._is_away = True
            except Exception:
                log.exception("a heartbeat failed")
            if self._stopping.wait(LOOK_S):
                break
        try:
            self._owner.leave()
        except AWAY:
            log.warning("the others are not told that this control plane is gone: the database does not answer")

    def _guard(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                self.guard()
            except Exception:
                log.exception("the guard of leases failed")


def _stop_for(requested: str) -> StopRequest:
    """What the attempt is to do: for a resume it must first have paused, as somebody asked for before."""
    return "cancel" if requested == "cancel" else "pause"
