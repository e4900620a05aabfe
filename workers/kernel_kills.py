"""Whether the kernel ends processes of this machine for want of memory: it counts them, but does not say which."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["KernelKills"]

VMSTAT: Final = Path("/proc/vmstat")
COUNTER: Final = "oom_kill"
LATELY_S: Final = 5.0  # a process that dies so soon after one was ended is taken for that one


class KernelKills:
    """Looks at the kernel's count now and then, so that it is known when it went up."""

    def __init__(self, vmstat: Path = VMSTAT, clock: Callable[[], float] = time.monotonic) -> None:
        self._vmstat, self._clock = vmstat, clock
        self._count = self._counted()
        self._at: float | None = None

    def look(self) -> None:
        """To be called at least as often as LATELY_S."""
        count = self._counted()
        if count > self._count:
            self._count, self._at = count, self._clock()

    def lately(self) -> bool:
        """Whether a process of this machine was ended just now."""
        self.look()
        return self._at is not None and self._clock() - self._at <= LATELY_S

    def _counted(self) -> int:
        """Of all processes since the machine started; 0 where the kernel does not tell."""
        try:
            lines = self._vmstat.read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        counts = dict(line.split() for line in lines)
        return int(counts.get(COUNTER, 0))
