"""Which attempt may work in a job's folder: the newest that has begun there, until it is given up. So one that was
given up for dead, and is not, finds that out before it takes away what its successor works with."""

import logging
from pathlib import Path

from workers.disk import DISK, Disk, write_atomically
from workers.failures import NO_ROOM, words_of
from workers.job import Superseded

__all__ = ["NAME", "Fence"]

NAME = "attempt"
"""The file that holds the epoch of who may."""

log = logging.getLogger(__name__)


class Fence:
    """The fence of a job's folder, as whoever works for the job at that epoch sees it: the job's number that counts all
    who had it, one after the other."""

    def __init__(self, folder: Path, epoch: int, disk: Disk = DISK) -> None:
        self._path, self._epoch, self._disk = folder / NAME, epoch, disk
        self._is_mine = False

    def take(self) -> None:
        """From now on those of before are refused. Raises Superseded where this is one of them, OSError.

        A disk without room for a few bytes does not keep a job from training: who is left behind by then is refused by
        the next attempt.
        """
        newest = self._newest()
        if newest is not None and newest > self._epoch:
            raise Superseded("a later attempt at the job has begun")
        try:
            write_atomically(self._path, [str(self._epoch).encode()], self._disk)
            self._is_mine = True
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            log.warning("those who worked before at epoch %d cannot be refused: %s", self._epoch, words_of(error))

    def check(self) -> None:
        """Raises Superseded if whoever has taken the fence has been given up, or if a later one has taken it.

        A folder that cannot be read refuses nobody: what is to be written there fails by itself.
        """
        try:
            newest = self._newest()
        except OSError as error:
            log.warning("whether a later attempt has begun is not known: %s", words_of(error))
            return
        if (newest is None and self._is_mine) or (newest is not None and newest > self._epoch):
            raise Superseded("the attempt was given up")

    def close(self) -> None:
        """From now on everybody up to this epoch is refused. Raises OSError."""
        newest = self._newest()
        if newest is not None and newest <= self._epoch:
            self._disk.remove(self._path)

    def _newest(self) -> int | None:
        """None where nobody may."""
        try:
            return int(self._path.read_bytes())
        except FileNotFoundError:
            return None
