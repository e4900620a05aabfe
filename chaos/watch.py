"""A job as it is seen from outside: its events, with the moment at which each arrives."""

import bisect
import threading
import time
from collections.abc import Iterable, Iterator

from chainrule import ChainruleError, Client, Event

__all__ = ["GIVES_UP_AFTER_S", "SETTLES_IN_S", "Hung", "Watch", "steps_done"]

SETTLES_IN_S = 0.25
"""What is told so soon after a disturbance may be of steps before it, and is not taken for a recovery: none is measured
as shorter than this."""
GIVES_UP_AFTER_S = 240.0


class Hung(Exception):
    """Nothing was told of a job's training for far too long, or nobody was there to tell."""


def steps_done(events: Iterable[Event]) -> Iterator[Event]:
    """Of a job's events those that tell of steps: not what an attempt tells as it opens, of the step that it begins at
    and of those before."""
    begins_at: int | None = None
    for event in events:
        if event.type == "state":
            begins_at = None
        elif event.type == "progress" and begins_at is None:
            begins_at = event.data["step"]
        elif event.type in ("progress", "metrics") and begins_at is not None and event.data["step"] > begins_at:
            yield event


class Watch:
    """Follows a job's events in a thread, across deaths of the service; one that is gone for longer than `patience_s`
    is given up."""

    def __init__(self, url: str, job_id: str, patience_s: float = GIVES_UP_AFTER_S) -> None:
        self.job_id = job_id
        self._url, self._patience_s = url, patience_s
        self._changed = threading.Condition()
        self._trained_at: list[float] = []
        self._over = False
        self._gave_up: ChainruleError | None = None
        threading.Thread(target=self._follow, name=f"watch-{job_id}", daemon=True).start()

    def _follow(self) -> None:
        try:
            # The client would wait for half a second before it connects anew, which would count as recovery.
            with Client(self._url, sleep=lambda pause_s: time.sleep(min(pause_s, 0.02))) as client:
                for _ in steps_done(client.events(self.job_id, patience_s=self._patience_s)):
                    with self._changed:
                        self._trained_at.append(time.monotonic())
                        self._changed.notify_all()
        except ChainruleError as error:
            self._gave_up = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def is_over_within(self, seconds: float) -> bool:
        """Waits so long for the job's end; whether it has ended. Raises Hung."""
        with self._changed:
            over = self._changed.wait_for(lambda: self._over, seconds)
        self._must_not_have_given_up()
        return over

    def goes_on(self, since: float) -> float | None:
        """The moment at which training was first told of after `since`, waiting for it; None if the job ended before.

        Raises Hung.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.went_on(since) is not None, GIVES_UP_AFTER_S)
        if (told_at := self.went_on(since)) is not None:
            return told_at
        self._must_not_have_given_up()
        if self._over:
            return None
        raise Hung(f"{self.job_id}: nothing was told of its training for {GIVES_UP_AFTER_S:.0f} s")

    def went_on(self, since: float) -> float | None:
        """The moment at which training was first told of after `since`; None if it has not been so far."""
        told = bisect.bisect_left(self._trained_at, since + SETTLES_IN_S)
        return self._trained_at[told] if told < len(self._trained_at) else None

    def _must_not_have_given_up(self) -> None:
        if self._gave_up is not None:
            raise Hung(f"{self.job_id} could not be followed any more: {self._gave_up}") from self._gave_up
