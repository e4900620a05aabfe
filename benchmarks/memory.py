"""The memory that processes keep to themselves: mapped files and shared memory are the machine's, and do not count."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Watch"]

LOOK_EVERY_S = 0.005
LOOK_FOR_PROCESSES_EVERY_S = 0.25


class Watch:
    """Notes the most private (anonymous) memory that processes have had, by the names that `processes` gives them.

    A context manager. Of several processes of one name, the largest counts.
    """

    def __init__(self, processes: Callable[[], Mapping[int, str]]) -> None:
        self.peak_bytes: dict[str, int] = {}
        self._processes, self._ended = processes, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        names, looked_at = self._processes(), time.monotonic()
        while True:
            for process, name in names.items():
                self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), _private_bytes(process))
            if self._ended.wait(LOOK_EVERY_S):
                return
            if time.monotonic() - looked_at > LOOK_FOR_PROCESSES_EVERY_S:
                names, looked_at = self._processes(), time.monotonic()


def _private_bytes(process: int) -> int:
    """What it has now; nothing if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon")), 0)
