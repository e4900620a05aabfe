"""What commands that measure have in common: options, what they say of each part, and how they are interrupted."""

import argparse
import signal
import sys
from collections.abc import Callable, Collection
from inspect import cleandoc
from pathlib import Path
from types import FrameType

__all__ = ["NEW_PARAGRAPH", "about", "interrupt_on_signals", "parser"]

NEW_PARAGRAPH = "\n\n"


def parser(package: str, description: str, parts: Collection[str], quick: str) -> argparse.ArgumentParser:
    """The options of `python -m package`, which runs some or all of `parts`; `quick` says what --quick means there."""
    options = argparse.ArgumentParser(
        prog=f"python -m {package}",
        description=f"{description} A whole run writes its results into {package}/.",
    )
    options.add_argument("--list", action="store_true", help="tell what there is to run, and end")
    options.add_argument(
        "--only", action="append", choices=parts, metavar="NAME", help="run this one; may be given several times"
    )
    options.add_argument("--quick", action="store_true", help=quick)
    options.add_argument(
        "--into", type=Path, metavar="FOLDER", help="write the results there, also of a part or --quick"
    )
    return options


def about(function: Callable[..., object]) -> str:
    """What a part says of itself: its module's docstring, each paragraph in one line."""
    paragraphs = cleandoc(sys.modules[function.__module__].__doc__ or "").split(NEW_PARAGRAPH)
    return NEW_PARAGRAPH.join(" ".join(paragraph.splitlines()) for paragraph in paragraphs)


def interrupt_on_signals() -> None:
    """Has SIGINT and SIGTERM raise KeyboardInterrupt, once: a second one must not break off the stopping of what was
    started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
