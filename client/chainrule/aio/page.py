"""A list of the service, which comes page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["AsyncPage"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class AsyncPage(Generic[Item]):
    """The first page of a list, and the way to the others.

    Whoever goes through it goes through the whole list, or as many items as the list was asked for: each further page
    is asked for when it is reached, and may raise then what the client's methods raise.
    """

    items: list[Item]
    """Of this page alone."""
    next_cursor: str | None
    """Where the list goes on after this page; None at its end."""
    _next: Callable[[], Awaitable["AsyncPage[Item]"]] | None = field(default=None, repr=False, compare=False)
    """Asks for the next page; None at the end of the list, and where no more items are wanted."""

    async def pages(self) -> AsyncIterator["AsyncPage[Item]"]:
        """This page and those after it, each asked for when it is reached."""
        page = self
        yield page
        while page._next is not None:
            page = await page._next()
            yield page

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item
