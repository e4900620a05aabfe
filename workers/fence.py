"""Which attempt may work in a job's folder: the newest that has begun there, until it is given up. So one that was
given up for dead, and is not, finds that out before it takes away what its successor works with.

Each has a file of its own there, its mark, which is empty and which nobody else makes: whoever is stalled on the way,
however long, takes nobody's place. Whoever comes later works only once the marks of those before are gone."""

import logging
from collections.abc import Iterable
from pathlib import Path

from workers.disk import DISK, Disk, is_there
from workers.failures import words_of
from workers.job import Superseded

__all__ = ["Fence"]

NAME = "attempt."  # of a mark, before the epoch

log = logging.getLogger(__name__)


class Fence:
    """The fence of a job's folder, as whoever works for the job at that epoch sees it: the job's number that counts all
    who had it, one after the other."""

    def __init__(self, folder: Path, epoch: int, disk: Disk = DISK) -> None:
        self._folder, self._epoch, self._disk = folder, epoch, disk
        self.mark = folder / f"{NAME}{epoch}"
        """The file that is there as long as whoever has taken the fence may work."""

    def take(self) -> None:
        """From now on those of before are refused. Raises Superseded where this is one of them, or its job has been
        deleted, OSError."""
        try:
            self._disk.make(self.mark)
        except FileNotFoundError:
            raise Superseded("the job's folder is gone: it was deleted, or is not shared with this node") from None
        except FileExistsError:
            raise Superseded("the attempt has begun before") from None
        self._disk.flush_folder(self._folder)
        epochs = self._epochs()  # only now: of two that begin at once, whoever looks last sees both marks
        if any(epoch > self._epoch for epoch in epochs):
            self._disk.remove(self.mark)
            raise Superseded("a later attempt at the job has begun")
        self._remove(epoch for epoch in epochs if epoch < self._epoch)

    def check(self) -> None:
        """Raises Superseded if whoever has taken the fence has been given up, or if a later one has taken it.

        A folder that cannot be read refuses nobody: what is to be written there fails by itself.
        """
        try:
            there = is_there(self.mark)
        except OSError as error:
            log.warning("whether a later attempt has begun is not known: %s", words_of(error))
            return
        if not there:
            raise Superseded("the attempt was given up")

    def close(self) -> None:
        """From now on everybody up to this epoch is refused who has begun. Raises OSError."""
        self._remove(epoch for epoch in self._epochs() if epoch <= self._epoch)

    def _epochs(self) -> list[int]:
        """Those of the marks that are there."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        numbers = (name.removeprefix(NAME) for name in names if name.startswith(NAME))
        return [int(number) for number in numbers if number.isdecimal()]

    def _remove(self, epochs: Iterable[int]) -> None:
        for epoch in epochs:
            self._disk.remove(self._folder / f"{NAME}{epoch}")
