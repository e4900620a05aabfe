# Written by `make sync` from aio/page.py: change that file, not this one.
"""A list of the service, which comes page by page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Page"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """The first page of a list, and the way to the others.

    Whoever goes through it goes through the whole list, or as many items as the list was asked for: each further page
    is asked for when it is reached, and may raise then what the client's methods raise.
    """

    items: list[Item]
    """Of this page alone."""
    next_cursor: str | None
    """Where the list goes on after this page; None at its end."""
    _next: Callable[[], "Page[Item]"] | None = field(default=None, repr=False, compare=False)
    """Asks for the next page; None at the end of the list, and where no more items are wanted."""

    def pages(self) -> Iterator["Page[Item]"]:
        """This page and those after it, each asked for when it is reached."""
        page = self
        yield page
        while page._next is not None:
            page = page._next()
            yield page

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items
