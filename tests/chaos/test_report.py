"""How findings look, and what passes."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from benchmarks.records import Spread
from chaos.records import Finding
from chaos.registry import EXPERIMENTS
from chaos.report import Section, as_json, from_json, markdown, renderable, verdict
from support.running_service import ROOT

RECOVERY = Spread(0.5, 0.3, 0.9, runs=200)
FOUND = Finding(200, "kills", 200, jobs=40, lost=0, differing=0, recovery=RECOVERY, within_s=1.0)
SECTION = Section("workers", "A gradient worker is killed.", "2026-11-24 15:00 UTC", 7, 512.0, FOUND)
SKIPPED = Section("disk_full", "The disk is full.", "2026-11-24 15:09 UTC", 7, 0.1, None, "needs root", skipped=True)
BROKEN_OFF = Section("hangs", "A process hangs.", "2026-11-24 15:10 UTC", 7, 60.0, None, "did not start\nits log")


@pytest.mark.parametrize(
    ("found", "said", "passed"),
    [
        (FOUND, "passed", True),
        (replace(FOUND, lost=1), "FAILED", False),
        (replace(FOUND, differing=1), "FAILED", False),
        (replace(FOUND, broken=["an epoch was told twice"]), "FAILED", False),
        (replace(FOUND, disturbances=150), "only 150 of 200", False),
        (replace(FOUND, within_s=0.8), "nothing lost, but too slow", False),
        (replace(FOUND, recovery=replace(RECOVERY, runs=150)), "only 150 of 200 recoveries were measured", False),
        (replace(FOUND, recovery=None), "only 0 of 200 recoveries were measured", False),
        (replace(FOUND, recovery=None, within_s=None), "passed", True),
    ],
)
def test_a_finding_passes_when_nothing_is_lost_all_was_done_and_measured_and_the_longest_recovery_is_in_time(
    found: Finding, said: str, passed: bool
) -> None:
    section = replace(SECTION, finding=found)
    assert (verdict(section), section.passed) == (said, passed)


def test_what_was_skipped_says_why_and_speaks_against_nothing() -> None:
    assert (verdict(SKIPPED), SKIPPED.passed) == ("skipped: needs root", True)


def test_what_broke_off_has_not_passed() -> None:
    assert (verdict(BROKEN_OFF), BROKEN_OFF.passed) == ("broke off: did not start", False)


def test_markdown_has_a_line_for_each_experiment_and_tells_the_seed() -> None:
    text = markdown({"cores": "2"}, [SECTION, SKIPPED, BROKEN_OFF])
    assert "| workers | 200 kills | 40 | 0 | 0 | 0.5 (0.9) | 200 | ≤ 1 s | passed |" in text
    assert "| disk_full |  |  |  |  |  |  |  | skipped: needs root |" in text
    assert "_2026-11-24 15:00 UTC, seed 7, took 512 s_" in text


def test_markdown_and_terminal_tell_every_promise_that_was_broken() -> None:
    section = replace(SECTION, finding=replace(FOUND, broken=["job_1: an epoch was told twice"]))
    console = Console(width=160, file=StringIO())
    with console.capture() as capture:
        console.print(renderable([section]))
    assert "- job_1: an epoch was told twice" in markdown({}, [section])
    assert "job_1: an epoch was told twice" in capture.get()


def test_experiments_are_read_again_as_they_were_written() -> None:
    sections = [SECTION, SKIPPED, BROKEN_OFF, replace(SECTION, finding=replace(FOUND, recovery=None))]
    assert from_json(as_json({}, sections)) == sections


def test_json_holds_the_finding_and_whether_it_passed() -> None:
    told = json.loads(as_json({"cores": "2"}, [SECTION, SKIPPED]))
    first, second = told["experiments"]
    assert (first["finding"]["recovery"]["high"], first["passed"]) == (0.9, True)
    assert (second["finding"], second["failure"], second["skipped"]) == (None, "needs root", True)


def test_the_results_that_are_kept_can_be_read() -> None:
    kept = from_json((ROOT / "chaos" / "results.json").read_text("utf-8"))
    assert {section.name for section in kept} <= set(EXPERIMENTS)
    assert all(section.finding or section.failure for section in kept)
