"""The command line: `chainrule COMMAND`. Loads only what the command needs, so that `serve` answers at once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from chainrule import __version__
from chainrule.commands import jobs, models
from chainrule.commands.datasets import datasets
from chainrule.commands.keys import keys, signin
from chainrule.commands.quota import quota
from chainrule.commands.serve import serve
from chainrule.commands.webhooks import webhooks
from chainrule.errors import ChainruleError
from chainrule.session import Json, Session, exit_code, print_json, report

__all__ = ["app"]

EPILOG = (
    "Exit codes: 0 done · 1 the job failed or was cancelled (train --follow, watch) · 2 wrong usage, or the input was "
    "refused · 3 not found · 4 not possible in the present state · 5 the service does not answer, or not now · "
    "6 no key that may do this · 130 interrupted"
)


OF_ALL_COMMANDS = ("--url", "--key-file")


class Commands(TyperGroup):
    """The commands; an expected error becomes a line on stderr and an exit code, never a stack trace."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The options of all commands may also stand behind the command."""
        return super().parse_args(ctx, _options_first(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ChainruleError as error:
            report(error)
            raise typer.Exit(exit_code(error)) from error


def _options_first(arguments: Sequence[str]) -> list[str]:
    first, others = [], []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            others += [argument, *left]
        elif argument in OF_ALL_COMMANDS:
            first += [argument, _value_of(argument, left)]
        else:
            is_of_all = argument.partition("=")[0] in OF_ALL_COMMANDS
            (first if is_of_all else others).append(argument)
    return first + others


def _value_of(option: str, arguments: Iterator[str]) -> str:
    for value in arguments:
        return value
    raise typer.BadParameter("it requires a value", param_hint=option)


app = typer.Typer(
    name="chainrule",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chainrule {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="CHAINRULE_URL",
            help="The service; by default the only one that you run here, or http://127.0.0.1:8400.",
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CHAINRULE_KEY_FILE",
            help="A file that holds the key; else CHAINRULE_API_KEY is it, else a local service's admin.key.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the client's version.")
    ] = False,
) -> None:
    """Train neural networks through a Chainrule service: a table and a spec in, the same bits out."""
    session = ctx.ensure_object(Session)
    session.url, session.key_file = url or session.url, key_file or session.key_file


def cluster(ctx: typer.Context, as_json: Json = False) -> None:
    """Show the machines that train: their CPUs, how many are free, their BLAS kernels."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        found = client.cluster()
    if as_json:
        print_json(found.json)
        return
    from chainrule.show import nodes_table

    session.console().print(nodes_table(found.nodes))


def version(ctx: typer.Context, as_json: Json = False) -> None:
    """Print the versions of client and service."""
    with ctx.ensure_object(Session).client() as client:
        service = client.version()
    if as_json:
        print_json({"client": __version__, "service": service.json})
    else:
        typer.echo(f"client {__version__}\nservice {service.version} at {client.url}")


app.command()(serve)
app.add_typer(datasets, name="datasets")
app.add_typer(keys, name="keys")
app.add_typer(quota, name="quota")
app.command()(signin)
app.add_typer(webhooks, name="webhooks")
app.command()(jobs.train)
app.command()(jobs.jobs)
app.command()(jobs.watch)
app.command()(jobs.show)
app.command()(jobs.logs)
app.command()(jobs.cancel)
app.command()(jobs.pause)
app.command()(jobs.resume)
app.command()(jobs.rm)
app.command()(models.predict)
app.command()(models.download)
app.command()(cluster)
app.command()(version)
