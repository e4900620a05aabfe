"""What the asynchronous client does while it waits: it lets others run. `chainrule/waiting.py` is the other half."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import ParamSpec, TypeVar

__all__ = ["INTERRUPTS", "aside", "pause", "sent"]

Given = ParamSpec("Given")
Result = TypeVar("Result")

INTERRUPTS = (asyncio.CancelledError, KeyboardInterrupt)
"""What ends a wait from outside: whoever cancels the task, as asyncio does at Ctrl-C."""

pause = asyncio.sleep


async def aside(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Calls what computes, or reads and writes files, in a thread."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def sent(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A request's body, piece by piece."""
    for piece in pieces:
        yield piece
