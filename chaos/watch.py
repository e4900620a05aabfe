"""A job as it is seen from outside: its events, with the moment at which each arrives."""

import bisect
import threading
import time
from collections.abc import Iterable, Iterator

from chainrule import ChainruleError, Client, Event

__all__ = ["SETTLES_IN_S", "Hung", "Watch", "steps_done"]

SETTLES_IN_S = 0.25
"""What is told so soon after a disturbance may be of steps before it, and is not taken for a recovery: none is measured
as shorter than this."""
GIVES_UP_AFTER_S = 240.0


class Hung(Exception):
    """Nothing was told of a job's training for far too long."""


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
    """Follows a job's events in a thread, across deaths of the service."""

    def __init__(self, url: str, job_id: str) -> None:
        self.job_id = job_id
        self._url = url
        self._changed = threading.Condition()
        self._trained_at: list[float] = []
        self._over = False
        threading.Thread(target=self._follow, name=f"watch-{job_id}", daemon=True).start()

    def _follow(self) -> None:
        try:
            # The client would wait for half a second before it connects anew, which would count as recovery.
            with Client(self._url, sleep=lambda pause_s: time.sleep(min(pause_s, 0.02))) as client:
                for _ in steps_done(client.events(self.job_id, patience_s=GIVES_UP_AFTER_S)):
                    with self._changed:
                        self._trained_at.append(time.monotonic())
                        self._changed.notify_all()
        except ChainruleError:
            pass  # the service has been gone for too long: whoever waits for the job finds that out too
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def is_over_within(self, seconds: float) -> bool:
        """Waits so long for the job's end; whether it has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, seconds)

    def goes_on(self, since: float) -> float | None:
        """The moment at which training was first told of after `since`, waiting for it; None if the job ended before.

        Raises Hung.
        """
        counts_from = since + SETTLES_IN_S
        with self._changed:
            self._changed.wait_for(
                lambda: self._over or (bool(self._trained_at) and self._trained_at[-1] >= counts_from),
                GIVES_UP_AFTER_S,
            )
            told = bisect.bisect_left(self._trained_at, counts_from)
            if told < len(self._trained_at):
                return self._trained_at[told]
            if self._over:
                return None
        raise Hung(f"{self.job_id}: nothing was told of its training for {GIVES_UP_AFTER_S:.0f} s")
