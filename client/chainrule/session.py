"""What every command shares: which service it speaks to, where it prints, and how it ends."""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from chainrule.errors import (
    ChainruleError,
    Conflict,
    Forbidden,
    InvalidFile,
    NotFound,
    ServiceError,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from chainrule.keys import read_key
from chainrule.text import plain

if TYPE_CHECKING:
    import httpx
    from rich.console import Console

    from chainrule.client import Client
    from chainrule.page import Page

__all__ = ["ExitCode", "Json", "Session", "exit_code", "listed", "print_json", "report"]

Item = TypeVar("Item")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    JOB_FAILED = 1  # train --follow, watch: the job failed or was cancelled
    REFUSED = 2  # wrong usage, an unreadable file, or the service refused the input
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5  # nothing answers, or not now
    NOT_ALLOWED = 6  # no key was found, or it is not good, or may not do this
    INTERRUPTED = 130  # Ctrl-C


@dataclass
class Session:
    """The context object of the command line; tests pass one with a transport of their own."""

    url: str | None = None
    transport: "httpx.BaseTransport | None" = None
    key_file: Path | None = None

    def client(self) -> "Client":
        """A client of the chosen service, to be used in a `with` block. Raises InvalidFile for a file without a key."""
        from chainrule.client import Client  # late, because it loads httpx, which `chainrule serve` does not need

        key = None if self.key_file is None else read_key(self.key_file)
        if self.key_file is not None and key is None:
            expected = "a file that we may read and that holds one key alone"
            raise InvalidFile(f"{self.key_file}: got no key there, expected {expected}")
        return Client(self.url, key, transport=self.transport)

    def console(self, *, stderr: bool = False) -> "Console":
        """Where results (or, on stderr, notes and progress) are printed."""
        from chainrule.show import make_console

        return make_console(stderr=stderr)


def listed(page: "Page[Item]") -> tuple[list[Item], str | None]:
    """All items that a list was asked for, and where it goes on after them."""
    pages = list(page.pages())
    return [item for each in pages for item in each.items], pages[-1].next_cursor


def exit_code(error: ChainruleError) -> ExitCode:
    """The exit code for an error."""
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, Conflict):
        return ExitCode.CONFLICT
    if isinstance(error, Unauthorized | Forbidden):
        return ExitCode.NOT_ALLOWED
    return ExitCode.UNAVAILABLE if isinstance(error, Unreachable | Unavailable) else ExitCode.REFUSED


def report(error: ChainruleError) -> None:
    """Prints an expected error on stderr: one line, or one for each wrong field."""
    if isinstance(error, ServiceError) and error.fields:
        for problem in error.fields:
            _line(str(problem))
        return
    detail = f": {error.detail}" if isinstance(error, ServiceError) and error.detail else ""
    text = f"{error.title}{detail}" if isinstance(error, ServiceError) else str(error)
    request = f" (request {error.request_id})" if isinstance(error, Unavailable) and error.request_id else ""
    _line(text + request)


def _line(text: str) -> None:
    typer.echo(f"error: {plain(text)}", err=True)  # it may repeat what a user sent


def print_json(document: Any) -> None:
    """Prints one JSON document on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
