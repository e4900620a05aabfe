"""`make chaos`: kills, stops and cuts off what trains, and counts what is lost."""

import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.command import NEW_PARAGRAPH, about, interrupt_on_signals, parser
from benchmarks.records import BenchmarkFailed
from chainrule import ChainruleError
from chainrule.show import make_console
from chaos.records import Finding, Skipped
from chaos.registry import EXPERIMENTS, Experiment
from chaos.report import Section, as_json, from_json, markdown, renderable
from chaos.run import LeftBehind, Run, own_place
from chaos.watch import Hung
from examples.postgresql import DatabaseFailed, NotInstalled
from examples.service_process import ServiceFailed

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str]) -> int:
    """Makes the experiments that are asked for; the exit code is 0 if each passed or was skipped."""
    description = "Kills, stops and cuts off what trains, by real signals to real processes, and counts what is lost."
    options = parser("chaos", description, EXPERIMENTS, "a few disturbances of each kind")
    options.add_argument("--seed", type=int, default=0, help="whom and when to disturb follows from it [0]")
    options.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the services' logs there")
    given = options.parse_args(arguments)
    console = make_console()
    if given.list:
        for name, experiment in EXPERIMENTS.items():
            console.print(f"{name:22}{about(experiment).partition(NEW_PARAGRAPH)[0]}")
        return 0
    told = machine.describe()
    into = given.into or (None if given.only or given.quick else HERE)
    sections = _kept(into) if given.only and into is not None else {}
    made_well = True
    interrupt_on_signals()
    run = Run(console.print, quick=given.quick, seed=given.seed, logs=given.logs)
    try:
        for name in given.only or EXPERIMENTS:
            section = made(console, name, EXPERIMENTS[name], run)
            console.print(renderable([section]))
            made_well &= section.passed
            sections[name] = section
            if into is not None:
                _write(into, told, [sections[known] for known in EXPERIMENTS if known in sections])
    except KeyboardInterrupt:
        console.print("\ninterrupted; what ran is stopped")
        return 130
    if into is not None:
        console.print(f"\nwritten: {into / 'results.md'}, {into / 'results.json'}")
    return int(not made_well)


def _kept(into: Path) -> dict[str, Section]:
    """The experiments that were written there before: a part that is made anew takes the place of its own only."""
    results = into / "results.json"
    return {each.name: each for each in from_json(results.read_text("utf-8"))} if results.exists() else {}


def _write(into: Path, machine: Mapping[str, str], sections: Sequence[Section]) -> None:
    """Writes the results so far: after each experiment, as a run takes long."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "results.md").write_text(markdown(machine, sections), encoding="utf-8")
    (into / "results.json").write_text(as_json(machine, sections), encoding="utf-8")


def made(console: Console, name: str, experiment: Experiment, run: Run) -> Section:
    """Makes one experiment, showing how it goes; one that breaks off, whatever it raises, is a section that says so."""
    began_at, began = machine.now(), time.monotonic()
    finding: Finding | None = None
    failure, skipped = None, False
    with console.status(name) as status:
        try:
            with own_place(replace(run, say=lambda text: status.update(f"{name}: {text}")), name) as own:
                finding = experiment(own)
        except (NotInstalled, Skipped) as reason:
            failure, skipped = str(reason), True
        except (BenchmarkFailed, ChainruleError, DatabaseFailed, Hung, LeftBehind, ServiceFailed) as error:
            finding, failure = None, str(error)
        except Exception as error:  # noqa: BLE001  (a mistake of ours: the other experiments are made all the same)
            finding, failure = None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    return Section(name, about(experiment), began_at, run.seed, time.monotonic() - began, finding, failure, skipped)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
