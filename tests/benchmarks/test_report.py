"""How results look."""

import json
from io import StringIO

from rich.console import Console

from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.report import Section, as_json, markdown, number, renderable, verdict

MACHINE = {"cores": "2"}
OUTCOME = Outcome(
    figures=[
        Figure("batch 512", "Chainrule", "samples/s", Spread.of([98_000.0, 104_000.0, 100_000.0])),
        Figure("batch 512", "PyTorch", "samples/s", Spread.of([40_000.0])),
        Figure("batch 2,048", "Chainrule", "samples/s", Spread.of([128_000.0])),
    ],
    goals=[
        Goal("against PyTorch", "×", 2.0, Spread.of([2.5])),
        Goal("update", "ms", 0.25, Spread.of([0.5, 1.0, 0.75]), at_most=True),
    ],
    notes=["JAX: not installed, left out"],
)
SECTION = Section("training", "How fast a network trains.", "2026-11-24 15:00 UTC", 0.25, OUTCOME)
FAILED = Section("start", "How soon a job starts.", "2026-11-24 15:09 UTC", 0.5, None, "the service ended")


def test_numbers_keep_the_digits_that_mean_something() -> None:
    assert [number(value) for value in (155_123.4, 1_000.0, 431.6, 43.21, 0.1234)] == [
        *("155,123", "1,000", "432", "43.2", "0.123")
    ]


def test_a_missed_goal_is_said_by_how_much() -> None:
    assert [verdict(goal) for goal in OUTCOME.goals] == ["reached", "missed by 0.5 ms (200%)"]


def test_markdown_has_a_row_for_each_row_and_a_column_for_each_column() -> None:
    lines = markdown(MACHINE, [SECTION]).splitlines()
    assert "| samples/s, median (min – max) | Chainrule | PyTorch |" in lines
    assert "| batch 512 | 100,000 (98,000 – 104,000) | 40,000 |" in lines
    assert "| batch 2,048 | 128,000 |  |" in lines


def test_units_stand_at_the_columns_where_they_differ() -> None:
    figures = [Figure("small", name, unit, Spread.of([1.0])) for name, unit in (("rows", "samples/s"), ("time", "ms"))]
    section = Section("growth", "", "", 0.0, Outcome(figures))
    assert "| median (min – max) | rows, samples/s | time, ms |" in markdown(MACHINE, [section])


def test_markdown_tells_the_machine_the_load_the_goals_and_what_was_left_out() -> None:
    text = markdown(MACHINE, [SECTION])
    assert "| cores | 2 |" in text
    assert "_2026-11-24 15:00 UTC, load average 0.25_" in text
    assert "## Goals: 1 of 2 reached" in text
    assert "| update | ≤ 0.25 ms | 0.75 (0.5 – 1) ms | missed by 0.5 ms (200%) |" in text
    assert "- JAX: not installed, left out" in text


def test_a_benchmark_that_could_not_measure_says_why() -> None:
    assert "**Not measured:** the service ended" in markdown(MACHINE, [FAILED])


def test_a_terminal_shows_the_same_figures_and_verdicts() -> None:
    console = Console(width=160, file=StringIO())
    with console.capture() as capture:
        console.print(renderable(SECTION))
        console.print(renderable(FAILED))
    text = capture.get()
    for part in ("100,000 (98,000 – 104,000)", "missed by 0.5 ms (200%)", "JAX: not installed", "the service ended"):
        assert part in text


def test_json_holds_the_values_and_whether_a_goal_is_reached() -> None:
    told = json.loads(as_json(MACHINE, [SECTION, FAILED]))
    goals = told["sections"][0]["outcome"]["goals"]
    assert [(goal["measured"]["value"], goal["reached"]) for goal in goals] == [(2.5, True), (0.75, False)]
    assert told["sections"][1]["failure"] == "the service ended"
