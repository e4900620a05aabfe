"""The log that the control plane reads while the coordinator writes."""

import threading

from workers.reports import AT_ONCE, ReportLog


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


def test_an_answer_holds_a_bounded_number_of_reports_and_the_next_goes_on_there() -> None:
    log = ReportLog()
    for step in range(AT_ONCE + 3):
        log.add("metrics", step=step)
    first = log.after(0, 0)
    assert len(first) == AT_ONCE
    assert [report.data["step"] for report in log.after(first[-1].number, 0)] == [AT_ONCE, AT_ONCE + 1, AT_ONCE + 2]


def test_reports_that_come_one_by_one_are_answered_together() -> None:
    log, answers = ReportLog(), []

    def read() -> None:
        last = 0
        while not answers or answers[-1][-1].type != "ended":
            answers.append(log.after(last, 60))
            last = answers[-1][-1].number

    reading = threading.Thread(target=read)
    reading.start()
    for step in range(5_000):
        log.add("metrics", step=step)
    log.add("ended", outcome="succeeded")
    reading.join(30)
    assert not reading.is_alive()
    assert sum(len(answer) for answer in answers) == 5_001
    assert len(answers) < 100
