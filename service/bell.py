"""A bell for each job, which wakes those on event loops who wait for news of it, from any thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Bell"]


class Bell:
    """Wakes those on the event loop who listen for a job, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._closed = False

    def ring(self, job_id: str) -> None:
        """Something was written about the job."""
        with self._lock:
            self._wake(self._listeners.get(job_id, ()))

    def close(self) -> None:
        """Wakes everybody for the last time: the service ends."""
        with self._lock:
            self._closed = True
            for listeners in self._listeners.values():
                self._wake(listeners)

    @property
    def closed(self) -> bool:
        """Whether the service ends."""
        return self._closed

    @contextmanager
    def listen(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event, for this thread's event loop, that is set whenever the bell rings for the job."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listeners.setdefault(job_id, set()).add(listener)
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listeners[job_id].discard(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

    @staticmethod
    def _wake(listeners: Any) -> None:
        for loop, event in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
