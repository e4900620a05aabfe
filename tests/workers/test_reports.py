"""The log that the control plane reads while the coordinator writes."""

import threading

from workers.reports import ReportLog


def test_what_was_read_does_not_come_again() -> None:
    log = ReportLog()
    log.add("progress", step=1)
    log.add("progress", step=2)
    assert [report.number for report in log.after(0, 0)] == [1, 2]
    assert [report.number for report in log.after(0, 0)] == [1, 2], "an answer that was lost can be asked for again"
    assert [report.number for report in log.after(1, 0)] == [2]
    assert log.after(2, 0) == []


def test_who_waits_is_woken_by_the_next_report() -> None:
    log, got = ReportLog(), []
    waiting = threading.Thread(target=lambda: got.extend(log.after(0, 60)))
    waiting.start()
    log.add("ended", outcome="succeeded")
    waiting.join(30)
    assert [report.type for report in got] == ["ended"]
