"""The log of one attempt: what the coordinator tells, kept until the control plane has read it."""

import threading
from typing import Any

from workers.job import Report

__all__ = ["ReportLog"]


class ReportLog:
    """An append-only list that one thread writes and others wait on."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._forgotten = 0
        self._changed = threading.Condition()

    def add(self, kind: str, **data: Any) -> None:
        """Appends a report of type `kind`."""
        with self._changed:
            number = self._forgotten + len(self._reports) + 1
            self._reports.append(Report(number, kind, data))  # type: ignore[arg-type]
            self._changed.notify_all()

    def after(self, number: int, wait_s: float) -> list[Report]:
        """Reports above `number`, waiting up to `wait_s` for the first. Whoever asks has read all up to `number`, so
        those are forgotten."""
        with self._changed:
            drop = max(0, number - self._forgotten)
            del self._reports[:drop]
            self._forgotten += drop
            self._changed.wait_for(lambda: bool(self._reports), wait_s)
            return list(self._reports)

    def unread(self, kind: str) -> list[dict[str, Any]]:
        """The data of the reports of type `kind` that nobody is known to have taken in."""
        with self._changed:
            return [report.data for report in self._reports if report.type == kind]
