"""What the synchronous client does while it waits: it blocks. `aio/waiting.py` is the other half."""

import time
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

__all__ = ["INTERRUPTS", "aside", "pause", "sent"]

Given = ParamSpec("Given")
Result = TypeVar("Result")

INTERRUPTS = (KeyboardInterrupt,)
"""What ends a wait from outside: Ctrl-C, or a notebook's button."""

pause = time.sleep


def aside(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Calls what computes, or reads and writes files."""
    return function(*args, **kwargs)


def sent(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """A request's body, piece by piece."""
    return pieces
