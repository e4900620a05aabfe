"""`make bench`: measures Chainrule through its real service, and other libraries beside it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.command import NEW_PARAGRAPH, about, interrupt_on_signals, parser
from benchmarks.picture import bars
from benchmarks.records import BenchmarkFailed, Outcome
from benchmarks.registry import BENCHMARKS, Measure
from benchmarks.report import Section, as_json, markdown, renderable
from benchmarks.run import Run
from chainrule import ChainruleError
from chainrule.show import make_console
from examples.postgresql import DatabaseFailed, NotInstalled
from examples.service_process import ServiceFailed

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmarks that are asked for; the exit code is 0 if all of them could measure, whatever they found."""
    description = "Measures Chainrule through its real service, and other libraries beside it in the same run."
    quick = "try whether all works: one round, on less data"
    given = parser("benchmarks", description, BENCHMARKS, quick).parse_args(arguments)
    console = make_console()
    if given.list:
        for name, measure in BENCHMARKS.items():
            console.print(f"{name:16}{about(measure).partition(NEW_PARAGRAPH)[0]}")
        return 0
    told = machine.describe()
    for name, value in told.items():
        console.print(f"{name:16}{value}")
    into = given.into or (None if given.only or given.quick else HERE)
    sections: list[Section] = []
    interrupt_on_signals()
    try:
        for name in given.only or BENCHMARKS:
            section = measured(console, name, BENCHMARKS[name], quick=given.quick)
            console.print(renderable(section))
            sections.append(section)
            if into is not None:
                write(into, told, sections)
    except KeyboardInterrupt:
        console.print("\ninterrupted; what ran is stopped")
        return 130
    if into is not None:
        console.print(f"\nwritten: {into / 'results.md'}, {into / 'results.json'}")
    return int(any(section.failure is not None for section in sections))


def write(into: Path, told: Mapping[str, str], sections: Sequence[Section]) -> None:
    """Writes the results so far: after each benchmark, as a run takes long."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "results.md").write_text(markdown(told, sections), encoding="utf-8")
    (into / "results.json").write_text(as_json(told, sections), encoding="utf-8")
    for section in sections:
        if section.name == "anatomy" and section.outcome is not None:
            (into / "anatomy.svg").write_text(bars(section.outcome.figures), encoding="utf-8")


def measured(console: Console, name: str, measure: Measure, *, quick: bool) -> Section:
    """Runs one benchmark, showing how it goes; one that fails is a section that says why."""
    began_at, load = machine.now(), machine.load_average()
    outcome: Outcome | None = None
    failure = None
    with console.status(name) as status:
        try:
            outcome = measure(Run(lambda text: status.update(f"{name}: {text}"), quick=quick))
        except (BenchmarkFailed, ChainruleError, DatabaseFailed, NotInstalled, ServiceFailed) as error:
            failure = str(error)
    return Section(name, about(measure), began_at, load, outcome, failure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
