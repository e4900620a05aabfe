"""The list of a job's processes: who is there, who is still starting, who is to leave, who has gone."""

import threading
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Roster"]


class Numbered(Protocol):
    """Somebody on the list."""

    @property
    def number(self) -> int:
        """What the attempt calls them."""


M = TypeVar("M", bound=Numbered)


class Roster(Generic[M]):
    """At first all are newcomers. `join` and `dismiss` may be called from other threads."""

    def __init__(self, newcomers: Sequence[M]) -> None:
        self._lock = threading.Lock()
        self._members: list[M] = []
        self._newcomers = list(newcomers)
        self._leaving: set[int] = set()
        self._asked_to_leave = False
        self._gone: list[int] = []

    def join(self, newcomers: Sequence[M]) -> None:
        """These are members as soon as they have started."""
        with self._lock:
            self._newcomers += newcomers

    def dismiss(self, numbers: Sequence[int]) -> None:
        """These leave at the next `let_go`, be it that they have started or not."""
        with self._lock:
            self._leaving |= set(numbers)
            self._asked_to_leave = True

    def is_to_let_go(self) -> bool:
        """Whether somebody was dismissed since the last `let_go`."""
        with self._lock:
            return self._asked_to_leave

    def members(self) -> list[M]:
        """Those who are there."""
        with self._lock:
            return list(self._members)

    def newcomers(self) -> list[M]:
        """Those who are still starting."""
        with self._lock:
            return list(self._newcomers)

    def everybody(self) -> list[M]:
        """Those who are there, and those who are still starting."""
        with self._lock:
            return self._members + self._newcomers

    def take_in(self, newcomer: M) -> None:
        """One has started."""
        with self._lock:
            self._newcomers.remove(newcomer)
            self._members.append(newcomer)

    def let_go(self, lost: Sequence[M] = ()) -> list[M]:
        """Strikes out who is `lost`, and who was dismissed; returns those of the latter who were still starting."""
        with self._lock:
            dismissed = [each for each in self._members + self._newcomers if each.number in self._leaving]
            going = [*lost, *(each for each in dismissed if each not in lost)]
            starting = [each for each in going if each in self._newcomers]
            self._members = [each for each in self._members if each not in going]
            self._newcomers = [each for each in self._newcomers if each not in going]
            self._gone += [each.number for each in going]
            self._leaving.clear()
            self._asked_to_leave = False
            return starting

    def strike(self, lost: M) -> None:
        """One is gone who was there, or did not live to be."""
        with self._lock:
            self._members = [each for each in self._members if each is not lost]
            self._newcomers = [each for each in self._newcomers if each is not lost]
            self._gone.append(lost.number)

    def gone(self) -> list[int]:
        """The numbers of those who were struck out since this was asked before."""
        with self._lock:
            gone, self._gone = self._gone, []
            return gone
