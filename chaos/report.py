"""How findings look: as a table in a terminal, as Markdown, as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from benchmarks.records import Spread
from benchmarks.report import markdown_table, number, rich_table
from chaos.records import Finding

__all__ = ["Section", "as_json", "from_json", "markdown", "renderable", "verdict"]

HEAD = ("experiment", "done", "jobs", "lost", "other bits", "recovery, s: median (max)", "measured", "wanted", "")


@dataclass(frozen=True)
class Section:
    """One experiment in a report: what it does, when, with which seed, how long it took, and what it found.

    Without a finding, `failure` says why there is none; it was skipped, or it broke off.
    """

    name: str
    about: str
    began_at: str
    seed: int
    took_s: float
    finding: Finding | None
    failure: str | None = None
    skipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it; one that was skipped says nothing."""
        return self.skipped or (self.finding is not None and self.finding.passed)


def verdict(section: Section) -> str:
    """One word or a few on how it went."""
    found = section.finding
    if found is None:
        return f"skipped: {section.failure}" if section.skipped else f"broke off: {_first_line(section.failure)}"
    if not found.nothing_lost:
        return "FAILED"
    if found.disturbances < found.wanted:
        return f"only {found.disturbances} of {found.wanted}"
    if not found.done:
        return f"only {found.measured} of {found.wanted} recoveries were measured"
    return "passed" if found.in_time else "nothing lost, but too slow"


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _line(section: Section) -> list[str]:
    found = section.finding
    if found is None:
        return [section.name, *[""] * (len(HEAD) - 2), verdict(section)]
    recovery = "" if found.recovery is None else f"{number(found.recovery.value)} ({number(found.recovery.high)})"
    measured = "" if found.recovery is None else number(found.measured)
    wanted = "" if found.within_s is None else f"≤ {number(found.within_s)} s"
    counts = (found.jobs, found.lost, found.differing)
    done = f"{number(found.disturbances)} {found.kind}"
    return [section.name, done, *map(number, counts), recovery, measured, wanted, verdict(section)]


def _when(section: Section) -> str:
    return f"{section.began_at}, seed {section.seed}, took {section.took_s:.0f} s"


# ---------------------------------------------------------------- in a terminal
def renderable(sections: Sequence[Section]) -> RenderableType:
    """Experiments for a terminal."""
    styles = ["yellow" if section.skipped else "green" if section.passed else "red" for section in sections]
    parts: list[RenderableType] = [rich_table([HEAD, *map(_line, sections)], styles)]
    for section in sections:
        parts += [Text(f"{section.name}: {text}", style="yellow") for text in _said(section)]
    return Group(*parts)


def _said(section: Section) -> list[str]:
    """Everything that the table has no place for."""
    if section.finding is not None:
        return [*section.finding.broken, *section.finding.notes]
    return [] if section.skipped or section.failure is None else [section.failure]


# ---------------------------------------------------------------- in files
def markdown(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The whole report."""
    return "\n".join(_markdown_lines(machine, sections)) + "\n"


def _markdown_lines(machine: Mapping[str, str], sections: Sequence[Section]) -> Iterator[str]:
    yield from ("# Results", "", "Written by `make chaos`; every number comes from the run.", "")
    yield from markdown_table([HEAD, *map(_line, sections)])
    yield ""
    yield from markdown_table([["machine", ""], *([name, value] for name, value in machine.items())])
    for section in sections:
        yield from ("", f"## {section.name}", "", section.about, "", f"_{_when(section)}_")
        if said := _said(section):
            yield from ("", *(f"- {_first_line(text)}" for text in said))


def as_json(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The whole report for programs; each experiment also says whether it passed."""
    told: list[dict[str, Any]] = [
        {**asdict(section), "passed": section.passed, "verdict": verdict(section)} for section in sections
    ]
    return json.dumps({"machine": dict(machine), "experiments": told}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[Section]:
    """The experiments of a report that `as_json` has written."""
    return [_section(told) for told in json.loads(text)["experiments"]]


def _section(told: dict[str, Any]) -> Section:
    values = {each.name: told[each.name] for each in fields(Section)}
    if (found := values["finding"]) is not None:
        recovery = None if found["recovery"] is None else Spread(**found["recovery"])
        lists = {name: tuple(found[name]) for name in ("broken", "notes")}
        values["finding"] = Finding(**{**found, **lists, "recovery": recovery})
    return Section(**values)
