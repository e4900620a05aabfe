"""The log of one attempt: what the coordinator tells, kept until the control plane has read it."""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from workers.job import Report

__all__ = ["AT_ONCE", "MOST_UNREAD", "ReportLog"]

AT_ONCE = 2_000  # reports an answer: a network of a few numbers ends thousands of epochs a second
MOST_UNREAD = 100_000  # some 60 MB: hours of a job whose control plane is gone or cannot write
LOOK_UP_EVERY_S = 1.0  # while the reader is waited for
PAUSE_S = 0.05  # between two answers: to be asked costs the steps more than to be told of many at once


class ReportLog:
    """An append-only list that one thread writes and another waits on, of at most MOST_UNREAD reports.

    Args:
        check: called now and then while a reader is waited for; raises where there will be none any more.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._reports: list[Report] = []
        self._last = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._answered_at = -PAUSE_S

    def add(self, kind: str, **data: Any) -> None:
        """Appends a report of type `kind`, unless the last word has been said: somebody else may be a moment late.

        Where too many are unread, each progress that a later one has overtaken is dropped, and if that is not enough,
        this waits for the reader: nothing else is ever lost. Raises what `check` does.
        """
        if kind != "ended":
            self._await_room()
        with self._changed:
            if self._ended.is_set():
                return
            self._last += 1
            self._reports.append(Report(self._last, kind, data))  # type: ignore[arg-type]
            self._changed.notify_all()
            if kind == "ended":
                self._ended.set()

    def _await_room(self) -> None:
        while True:
            with self._changed:
                if len(self._reports) >= MOST_UNREAD:
                    self._reports = [report for report in self._reports if report.type != "progress"]
                if self._changed.wait_for(lambda: len(self._reports) < MOST_UNREAD, LOOK_UP_EVERY_S):
                    return
            self._check()  # which may take long, and a reader is not to wait for it

    def after(self, number: int, wait_s: float) -> list[Report]:
        """Reports above `number`, at most AT_ONCE, waiting up to `wait_s` for the first. Whoever asks has read all up
        to `number`, so those are forgotten.

        Answers follow each other after PAUSE_S at the earliest, but for the last report, which comes at once.
        """
        if wait_s > 0:
            self._ended.wait(self._answered_at + PAUSE_S - time.monotonic())
        with self._changed:
            del self._reports[: bisect_right(self._reports, number, key=lambda report: report.number)]
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._reports), wait_s)
            self._answered_at = time.monotonic()
            return self._reports[:AT_ONCE]

    def unread(self, kind: str) -> list[dict[str, Any]]:
        """The data of the reports of type `kind` that nobody is known to have taken in."""
        with self._changed:
            return [report.data for report in self._reports if report.type == kind]
