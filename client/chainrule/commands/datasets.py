"""`chainrule datasets …`: what the service trains on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainrule.errors import InvalidFile
from chainrule.session import Json, Session, listed, print_json
from chainrule.text import plain

if TYPE_CHECKING:
    from rich.console import Console


datasets = typer.Typer(no_args_is_help=True, help="Upload, list, show and remove data sets.")
PROGRESS_FROM_BYTES = 4_000_000  # smaller uploads are over before a bar is read

Which = Annotated[str, typer.Argument(metavar="NAME|ID", help="A data set's id, or its name for the newest version.")]


@datasets.command()
def add(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .csv, .csv.gz, .tsv, .parquet or .npz file.")],
    name: Annotated[str | None, typer.Option(help="What to call it; by default the file's name.")] = None,
    header: Annotated[bool | None, typer.Option(help="Whether the first line names the columns.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="What stands between two cells.")] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="A further cell that means no value, such as -999. Repeatable.")
    ] = None,
    types: Annotated[str | None, typer.Option(help="Column types, as in zip:category,day:text.")] = None,
    as_json: Json = False,
) -> None:
    """Upload a table. The same bytes under the same name again are the same data set."""
    session = ctx.ensure_object(Session)
    column_types = _column_types(types)
    with session.client() as client, _upload_bar(file, session.console(stderr=True)) as progress:
        dataset = client.add_dataset(
            file, name, header=header, delimiter=delimiter, missing=missing, types=column_types, progress=progress
        )
    if as_json:
        print_json(dataset.json)
        return
    rows, columns = dataset.rows, len(dataset.columns)
    what = f"{dataset.id}  {dataset.name} version {dataset.version}"
    typer.echo(plain(f"{what}: {rows:,} rows, {columns:,} columns"))
    for column in dataset.columns:
        if column.note:
            typer.echo(plain(f"column {column.name!r} is {column.note}"), err=True)


def _column_types(text: str | None) -> dict[str, str]:
    pairs = [pair.rpartition(":") for pair in text.split(",")] if text else []
    if any(not column or not kind for column, _, kind in pairs):
        raise InvalidFile(f"--types: got {text!r}, expected column:type pairs, such as zip:category,day:text")
    return {column: kind for column, _, kind in pairs}


@contextmanager
def _upload_bar(file: Path, console: "Console") -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar for a large file, where somebody can see it."""
    if not (console.is_terminal and file.is_file() and file.stat().st_size >= PROGRESS_FROM_BYTES):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("uploading", total=file.stat().st_size)
        yield lambda sent, total: bar.update(
            task, completed=sent, description="uploading" if sent < total else "the service reads it"
        )


@datasets.command("list")
def list_datasets(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List the data sets, newest first."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        items, cursor = listed(client.datasets(limit))
    if as_json:
        print_json({"items": [dataset.json for dataset in items], "next_cursor": cursor})
        return
    from chainrule.show import datasets_table

    session.console().print(datasets_table(items))


@datasets.command()
def show(ctx: typer.Context, which: Which, as_json: Json = False) -> None:
    """Show a data set and the profile of each of its columns."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        dataset = client.dataset(which)
    if as_json:
        print_json(dataset.json)
        return
    from chainrule.show import dataset_details

    session.console().print(dataset_details(dataset))


@datasets.command()
def rm(ctx: typer.Context, which: Which) -> None:
    """Remove a data set; a name removes its newest version. Refused while a job that has not ended uses it."""
    with ctx.ensure_object(Session).client() as client:
        dataset = client.dataset(which)
        client.delete_dataset(dataset.id)
    typer.echo(plain(f"removed {dataset.id}: {dataset.name} version {dataset.version}"))
