"""The log that the control plane reads while the coordinator writes."""

import threading
from pathlib import Path

from workers.fence import Fence
from workers.job import Superseded
from workers.reports import AT_ONCE, MOST_UNREAD, ReportLog


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


def test_of_too_many_that_nobody_reads_progress_is_dropped_and_then_the_writer_waits() -> None:
    log = ReportLog()
    for step in range(MOST_UNREAD):
        log.add("metrics" if step else "progress", step=step)
    log.add("metrics", step=MOST_UNREAD)  # takes the place of the progress
    writer = threading.Thread(target=log.add, args=("metrics",), kwargs={"step": MOST_UNREAD + 1})
    writer.start()
    first = log.after(0, 0)
    assert (first[0].number, first[0].data["step"]) == (2, 1)
    writer.join(0.05)
    assert writer.is_alive(), "it waits"
    log.after(2, 0)
    writer.join(30)
    assert not writer.is_alive()
    assert [item["step"] for item in log.unread("metrics")] == list(range(2, MOST_UNREAD + 2))


def test_who_waits_for_a_reader_finds_out_that_the_attempt_was_given_up(tmp_path: Path) -> None:
    fence = Fence(tmp_path, 1)
    fence.take()
    log = ReportLog(fence.check)
    for step in range(MOST_UNREAD):
        log.add("metrics", step=step)
    refused: list[Superseded] = []

    def tell() -> None:
        try:
            log.add("metrics", step=MOST_UNREAD)
        except Superseded as error:
            refused.append(error)

    writer = threading.Thread(target=tell)
    writer.start()
    fence.close()
    writer.join(30)
    assert len(refused) == 1
