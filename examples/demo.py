"""`make demo`: real networks on real data through a service of our own, over REST alone; every result is checked."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lecture import Comparison, read_examples
from rich import box
from rich.columns import Columns
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text
from service_process import ServiceFailed, ServiceProcess

from chainrule import ChainruleError, Client, Job
from chainrule.rows import read_rows
from chainrule.show import duration_text, make_console
from chainrule.specs import read_spec, with_settings
from chainrule.watch import view_on

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
SHADES = " ·░▒▓█"

console = make_console()


class NotAsExpected(Exception):
    """A result that the demo promises did not come."""


def main() -> int:
    """Runs the demo; the exit code is 0 only if everything came out as promised."""
    began = time.monotonic()
    console.print(Text("Chainrule: a training service, shown from outside, over REST alone", style="bold"))
    try:
        with ServiceProcess() as service, Client(service.url) as client:
            start(service)
            first = digits(client)
            incomes(client)
            lecture(client)
            same_bits(client, first)
            stop(service)
    except (ChainruleError, NotAsExpected, ServiceFailed) as error:
        console.print(Text(f"\n✗ {error}", style="bold red"))
        return 1
    except KeyboardInterrupt:
        console.print(Text("\ninterrupted; the service is stopped"))
        return 130
    took_s = time.monotonic() - began
    console.print(Text(f"\n✓ everything as promised, in {took_s:.0f} s", style="bold green"))
    return 0


# ---------------------------------------------------------------- the service
def start(service: ServiceProcess) -> None:
    """Waits until the service takes jobs."""
    began = time.monotonic()
    with console.status(f"chainrule serve at {service.url}, with embedded Ray and SQLite"):
        service.wait_until_ready()
    done(f"service ready at {service.url} after {duration_text(time.monotonic() - began)}")


def stop(service: ServiceProcess) -> None:
    """Ends the service and looks for what it may have left."""
    title("The end")
    with console.status("stopping the service"):
        took_s = service.stop()
    done(f"service stopped in {took_s:.1f} s, no process left")


# ---------------------------------------------------------------- 1: digits
def digits(client: Client) -> Job:
    """Trains the digits and counts how many of the test images are read right."""
    title("1  Handwritten digits: 8,000 images, a 784-256-128-10 network, 2 workers")
    client.add_dataset(DATA / "digits-train.npz", "digits")
    job = trained(client, read_spec(HERE / "digits.yaml"))
    with np.load(DATA / "digits-test.npz") as test:
        images, labels = test["image"], test["digit"]
    with console.status("predicting the 2,000 test images"):
        predictions = client.predict(job.id, ({"image": image.tolist()} for image in images))
    values = [prediction.value for prediction in predictions]
    accuracy = float(np.mean(np.array(values) == labels))
    console.print(Columns([_drawn(images[n], values[n], int(labels[n])) for n in range(5)], padding=(0, 2)))
    expect(job.workers == 2, f"got {job.workers} workers, expected 2")
    done(f"validation accuracy {job.latest_metrics['validation_accuracy']:.2%} (a tenth of the training file)")
    expect(accuracy >= 0.95, f"got a test accuracy of {accuracy:.2%}, expected at least 95 %")
    done(f"test accuracy       {accuracy:.2%} (2,000 images that it never saw; at least 95 % promised)")
    return job


def _drawn(image: Any, value: Any, label: int) -> Text:
    """An image in 14 × 7 characters, and what it was read as."""
    grey = image.reshape(7, 4, 14, 2).mean(axis=(1, 3)) / 256
    lines = ["".join(SHADES[int(level * len(SHADES))] for level in line) for line in grey]
    caption = Text(f"read as {value}".center(14), style="green" if value == label else "red")
    return Text("\n".join([*lines, ""])).append_text(caption)


# ---------------------------------------------------------------- 2: incomes
def incomes(client: Client) -> None:
    """Trains the adult-income classifier and predicts three people."""
    title("2  Incomes: 32,561 people of the census, categories and missing values")
    client.add_dataset(DATA / "adult-train.csv.gz", "adult")
    dataset = client.add_dataset(DATA / "adult-test.csv.gz", "adult-test")
    job = trained(client, read_spec(HERE / "adult.yaml"))
    accuracy = job.latest_metrics["validation_accuracy"]
    expect(accuracy >= 0.85, f"got a test accuracy of {accuracy:.2%}, expected at least 85 %")
    done(f"test accuracy {accuracy:.2%} on the {dataset.rows:,} people of the test file (at least 85 % promised)")
    types = {column.name: column.type for column in dataset.columns}
    people = three_people(list(read_rows(DATA / "adult-test.csv.gz", types)))
    answers = client.predict(job.id, [{name: person[name] for name in person if name != "income"} for person in people])
    shown = ("age", "workclass", "education", "occupation", "hours_per_week", "native_country")
    table = simple_table(*shown, "predicted", "probability", "in truth")
    for person, answer in zip(people, answers, strict=True):
        cells = [Text("missing", style="dim") if person[name] is None else Text(str(person[name])) for name in shown]
        right = answer.value == person["income"]
        predicted = Text(str(answer.value), style="green" if right else "red")
        table.add_row(*cells, predicted, f"{answer.probabilities[answer.value]:.0%}", person["income"])
    console.print(table)


def three_people(people: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of a file, the first with a missing value, the first who earns more."""
    missing = next(person for person in people if None in person.values())
    rich = next(person for person in people if person["income"] == ">50K" and person is not missing)
    return [people[0], missing, rich]


# ---------------------------------------------------------------- 3: the lecture
def lecture(client: Client) -> None:
    """Runs the worked examples and puts what came beside what should."""
    title("3  The lecture's four worked examples, float64, expected beside got")
    examples = read_examples(HERE / "lecture.json")
    with tempfile.TemporaryDirectory(prefix="chainrule-lecture-") as name:
        folder = Path(name)
        for example in examples:
            example.upload(client, folder)
        await_all(client, [job for example in examples for job in example.submit(client)])
        comparisons = [one for example in examples for one in example.comparisons(client, folder)]
    console.print(_comparison_table(comparisons))
    wrong = [f"{one.example}: {one.quantity}" for one in comparisons if not one.holds]
    expect(not wrong, f"these differ from the lecture: {', '.join(wrong)}")
    done(f"{len(comparisons)} of {len(comparisons)} numbers and vectors agree")


def await_all(client: Client, jobs: Sequence[Job]) -> None:
    """Waits for several jobs, which the service runs side by side as its CPUs allow."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30, finished_style="green"),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("jobs, side by side", total=len(jobs))
        waiting = [job.id for job in jobs]
        while waiting:
            now = [client.job(job_id) for job_id in waiting]
            for job in now:
                expect(job.state not in ("failed", "cancelled"), f"{job.name}: {job.state}, {job.reason}")
            waiting = [job.id for job in now if not job.is_over]
            bar.update(task, completed=len(jobs) - len(waiting))
            time.sleep(0.1 if waiting else 0)


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    table = simple_table("example", "quantity", "expected", "got", "difference", "")
    last = ""
    for one in comparisons:
        expected = f"< {one.expected:.0e}" if one.at_most else _numbers(one.expected)
        got = f"{one.got:.1e}" if one.at_most else _numbers(one.got)
        difference = "" if one.at_most else f"{one.difference:.0e}"
        mark = Text("✓", style="green") if one.holds else Text("✗", style="bold red")
        table.add_row("" if one.example == last else one.example, one.quantity, expected, got, difference, mark)
        last = one.example
    return table


def _numbers(values: Any, limit: int = 5) -> str:
    flat = [f"{value:.6g}" for value in np.ravel(values)]
    return ", ".join(flat[:limit]) + (f", … ({len(flat)})" if len(flat) > limit else "")


# ---------------------------------------------------------------- 4: the same bits
def same_bits(client: Client, first: Job) -> None:
    """Trains the digits again with one worker; the weights must be the same to the last bit."""
    title("4  The digits again, with another number of workers: the same bits")
    again = trained(client, with_settings(read_spec(HERE / "digits.yaml"), ["workers=1", "name=digits, 1 worker"]))
    jobs = [first, again]
    table = simple_table("workers", "SHA-256 of the trained weights")
    for job in jobs:
        table.add_row(str(job.workers), str(job.parameters_sha256))
    console.print(table)
    workers_used = [job.workers for job in jobs]
    expect(workers_used == [2, 1], f"got {workers_used} workers, expected [2, 1]")
    digests = {job.parameters_sha256 for job in jobs}
    expect(len(digests) == 1 and None not in digests, f"got {len(digests)} different digests, expected one")
    done("the same SHA-256 with 2 workers and with 1")


# ---------------------------------------------------------------- how it looks
def trained(client: Client, spec: dict[str, Any]) -> Job:
    """Submits a job, shows it live, and returns it once it has succeeded."""
    job = client.submit(spec)
    job.follow(view_on(job, console))
    expect(job.state == "succeeded", f"{job.name}: got {job.state} ({job.reason}), expected succeeded")
    return job


def title(text: str) -> None:
    """Opens a part of the demo."""
    console.print()
    console.print(Text(text, style="bold cyan"))


def done(text: str) -> None:
    """Says what came out as promised."""
    console.print(Text.assemble(("✓ ", "green"), text))


def expect(holds: bool, otherwise: str) -> None:
    """Raises NotAsExpected unless `holds`."""
    if not holds:
        raise NotAsExpected(otherwise)


def simple_table(*columns: str) -> Table:
    """An empty table of the demo's look."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


if __name__ == "__main__":
    sys.exit(main())
