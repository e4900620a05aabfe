"""How results look: as tables in a terminal, as Markdown, as JSON. All of them are made from the records alone."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.records import Figure, Goal, Outcome, Spread

__all__ = ["Section", "as_json", "markdown", "markdown_table", "number", "renderable", "rich_table", "verdict"]

GOALS = ("goal", "wanted", "measured (min – max)", "")


@dataclass(frozen=True)
class Section:
    """One benchmark in a report: what it measures, when and under which load, and what came out or why nothing did."""

    name: str
    about: str
    began_at: str
    load_average: float
    outcome: Outcome | None
    failure: str | None = None


# ---------------------------------------------------------------- numbers in words
def number(value: float) -> str:
    """A number with about three digits that mean something."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size < 100 else f"{value:.0f}"


def _spread(measured: Spread) -> str:
    if measured.runs == 1:
        return number(measured.value)
    return f"{number(measured.value)} ({number(measured.low)} – {number(measured.high)})"


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".rstrip()


def verdict(goal: Goal) -> str:
    """Whether a goal is reached, and if not, by how much it is missed."""
    if goal.is_reached:
        return "reached"
    return f"missed by {_with_unit(number(goal.missing), goal.unit)} ({goal.missing / goal.bound:.0%})"


# ---------------------------------------------------------------- tables as rows of text
def _figure_lines(figures: Sequence[Figure]) -> list[list[str]]:
    """The head, then a line for each row; the unit stands in the corner where all figures share one."""
    units = {figure.column: figure.unit for figure in figures}
    shared = len(set(units.values())) == 1
    corner = f"{next(iter(units.values()))}, median (min – max)" if shared else "median (min – max)"
    head = [corner, *(column if shared else f"{column}, {unit}" for column, unit in units.items())]
    cells = {(figure.row, figure.column): _spread(figure.measured) for figure in figures}
    rows = dict.fromkeys(figure.row for figure in figures)
    return [head, *([row, *(cells.get((row, column), "") for column in units)] for row in rows)]


def _goal_lines(goals: Sequence[Goal]) -> list[list[str]]:
    lines = [list(GOALS)]
    for goal in goals:
        wanted = _with_unit(f"{'≤' if goal.at_most else '≥'} {number(goal.bound)}", goal.unit)
        lines.append([goal.what, wanted, _with_unit(_spread(goal.measured), goal.unit), verdict(goal)])
    return lines


def _when(section: Section) -> str:
    return f"{section.began_at}, load average {section.load_average:.2f}"


# ---------------------------------------------------------------- in a terminal
def renderable(section: Section) -> RenderableType:
    """A section for a terminal."""
    parts: list[RenderableType] = [
        Text(f"\n{section.name}", style="bold cyan"),
        Text(section.about),
        Text(f"{_when(section)}\n", style="dim"),
    ]
    if section.failure is not None:
        parts.append(Text(f"✗ {section.failure}", style="bold red"))
    if section.outcome is not None:
        outcome = section.outcome
        parts.append(rich_table(_figure_lines(outcome.figures)))
        if outcome.goals:
            styles = ["green" if goal.is_reached else "red" for goal in outcome.goals]
            parts += [Text(), rich_table(_goal_lines(outcome.goals), styles)]
        parts += [Text(f"· {note}", style="yellow") for note in outcome.notes]
    return Group(*parts)


def rich_table(lines: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> Table:
    """A table of a head and rows, each of whose last cells has its style."""
    table = Table(*lines[0], box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, line in enumerate(lines[1:]):
        table.add_row(*line[:-1], Text(line[-1], style=styles[index] if styles else ""))
    return table


# ---------------------------------------------------------------- in files
def markdown(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The whole report."""
    return "\n".join(_markdown_lines(machine, sections)) + "\n"


def _markdown_lines(machine: Mapping[str, str], sections: Sequence[Section]) -> Iterator[str]:
    yield from ("# Results", "", "Written by `make bench`; every number comes from the run.", "")
    yield from markdown_table([["machine", ""], *([name, value] for name, value in machine.items())])
    goals = [goal for section in sections if section.outcome is not None for goal in section.outcome.goals]
    if goals:
        yield from ("", f"## Goals: {sum(goal.is_reached for goal in goals)} of {len(goals)} reached", "")
        yield from markdown_table(_goal_lines(goals))
    for section in sections:
        yield from ("", f"## {section.name}", "", section.about, "", f"_{_when(section)}_", "")
        if section.failure is not None:
            yield f"**Not measured:** {section.failure}"
        if section.outcome is not None:
            yield from markdown_table(_figure_lines(section.outcome.figures))
            yield from ("", *(f"- {note}" for note in section.outcome.notes)) if section.outcome.notes else ()


def markdown_table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table of a head and rows."""
    head, *rows = lines
    yield _markdown_row(head)
    yield _markdown_row(["---"] * len(head))
    yield from map(_markdown_row, rows)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The whole report for programs; goals also say whether they are reached."""
    told: list[dict[str, Any]] = []
    for section in sections:
        data = asdict(section)
        if section.outcome is not None:
            for goal, into in zip(section.outcome.goals, data["outcome"]["goals"], strict=True):
                into["reached"] = goal.is_reached
        told.append(data)
    return json.dumps({"machine": dict(machine), "sections": told}, indent=2, ensure_ascii=False) + "\n"
