"""The log of one attempt: what the coordinator tells, kept until the control plane has read it."""

import threading
import time
from typing import Any

from workers.job import Report

__all__ = ["AT_ONCE", "ReportLog"]

AT_ONCE = 2_000  # reports an answer: a network of a few numbers ends thousands of epochs a second
PAUSE_S = 0.05  # between two answers: to be asked costs the steps more than to be told of many at once


class ReportLog:
    """An append-only list that one thread writes and another waits on."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._forgotten = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._answered_at = -PAUSE_S

    def add(self, kind: str, **data: Any) -> None:
        """Appends a report of type `kind`, unless the last word has been said: somebody else may be a moment late."""
        with self._changed:
            if self._ended.is_set():
                return
            number = self._forgotten + len(self._reports) + 1
            self._reports.append(Report(number, kind, data))  # type: ignore[arg-type]
            self._changed.notify_all()
            if kind == "ended":
                self._ended.set()

    def after(self, number: int, wait_s: float) -> list[Report]:
        """Reports above `number`, at most AT_ONCE, waiting up to `wait_s` for the first. Whoever asks has read all up
        to `number`, so those are forgotten.

        Answers follow each other after PAUSE_S at the earliest, but for the last report, which comes at once.
        """
        if wait_s > 0:
            self._ended.wait(self._answered_at + PAUSE_S - time.monotonic())
        with self._changed:
            drop = max(0, number - self._forgotten)
            del self._reports[:drop]
            self._forgotten += drop
            self._changed.wait_for(lambda: bool(self._reports), wait_s)
            self._answered_at = time.monotonic()
            return self._reports[:AT_ONCE]

    def unread(self, kind: str) -> list[dict[str, Any]]:
        """The data of the reports of type `kind` that nobody is known to have taken in."""
        with self._changed:
            return [report.data for report in self._reports if report.type == kind]
