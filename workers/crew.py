"""Who computes for a job, beside the coordinator's own process: who is there, who has gone, who has come."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from workers.job import WorkerLost
from workers.link import Staff
from workers.remote import RemoteNode

__all__ = ["Crew", "FixedCrew", "Formation"]


class Formation(NamedTuple):
    """Everybody who computes from now on, as numbers from 0: first this node's, then those of one node after another.

    `gone` are the names of those who were there before and are not any more, `names` those of everybody where they are
    not the numbers; what a name is, is up to the crew.
    """

    here: range
    """The workers of this node, the first of whom computes in the asking process."""
    staff: Staff
    """The processes of the others here."""
    remote: Sequence[RemoteNode] = ()
    gone: Sequence[int] = ()
    names: Sequence[int] = ()

    @property
    def workers(self) -> int:
        return self.here.stop + sum(len(node.members) for node in self.remote)

    @property
    def members(self) -> Sequence[int]:
        """Everybody by name."""
        return self.names or range(self.workers)


class Crew(Protocol):
    """The processes that may compute for a job, as whoever supervises them offers them."""

    def changed(self) -> bool:
        """Whether somebody has come, or is to leave, since the last muster. Quick: it is asked between steps."""

    def muster(self, accused: Sequence[int] = ()) -> Formation:
        """Everybody who is there, newcomers among them.

        Who does not answer is ended. If all answer though some of the last formation are `accused` of not computing,
        the first of these is ended: so each muster after a loss has fewer of the old than the one before.
        """


class FixedCrew:
    """A crew of whom nobody comes, and whose losses are the end."""

    def __init__(self, staff: Staff, here: int, remote: Sequence[RemoteNode] = ()) -> None:
        self._formation = Formation(range(here), staff, remote)

    def changed(self) -> bool:
        return False

    def muster(self, accused: Sequence[int] = ()) -> Formation:
        if accused:
            raise WorkerLost(f"gradient worker {accused[0]} was lost", accused)
        return self._formation
