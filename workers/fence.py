"""Which attempt may work in a job's folder: the newest that has begun there. So one that was given up for dead, and is
not, finds that out before it takes away what its successor works with."""

import logging
from pathlib import Path

from workers.disk import DISK, Disk, write_atomically
from workers.failures import NO_ROOM, words_of
from workers.job import Superseded

__all__ = ["Fence"]

log = logging.getLogger(__name__)


class Fence:
    """An attempt's number beside that of the newest one, which the folder holds."""

    def __init__(self, folder: Path, attempt: int, disk: Disk = DISK) -> None:
        self._path, self._attempt, self._disk = folder / "attempt", attempt, disk

    def take(self) -> None:
        """From now on those before this attempt are refused. Raises Superseded where it is one of them, OSError.

        A disk without room for a few bytes does not keep a job from training: one that is left behind by then is only
        refused by the next attempt.
        """
        self.check()
        try:
            write_atomically(self._path, [str(self._attempt).encode()], self._disk)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            log.warning("attempt %d cannot refuse those before it: %s", self._attempt, words_of(error))

    def check(self) -> None:
        """Raises Superseded if a later attempt has begun."""
        newest = self._newest()
        if newest > self._attempt:
            raise Superseded(f"attempt {newest} at the job has begun")

    def _newest(self) -> int:
        try:
            return int(self._path.read_bytes())
        except FileNotFoundError:
            return 0
