"""Writes a job's checkpoints beside its steps, which wait for no more than a copy of the state."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from workers import checkpoint
from workers.checkpoint import Checkpoint
from workers.failures import retry_write_after_s, words_of
from workers.parameter_server import ServerState, Vector
from workers.storage import Storage

__all__ = ["CheckpointWriter"]

log = logging.getLogger(__name__)

LOOK_UP_EVERY_S = 0.1  # while a checkpoint is waited for: somebody may want to cancel
GIVES_WAY_BY = 10  # niceness of the thread that writes, above the steps': they come first where CPUs are short


class CheckpointWriter:
    """One thread that writes one checkpoint at a time. What falls due while it writes waits for the next look.

    Args:
        kept: the step of the newest checkpoint that there is, if any.
        every_s: how long after one checkpoint the next falls due.
        tell: called with the type and the data of a report, in that thread: `checkpoint` when one is there for good,
            `trouble` when the first of several could not be written, or for another reason than the one before.
    """

    def __init__(
        self, storage: Storage, kept: int | None, every_s: float, tell: Callable[..., None], clock: Callable[[], float]
    ) -> None:
        self._storage, self._kept, self._every_s, self._tell, self._clock = storage, kept, every_s, tell, clock
        self._pool = ThreadPoolExecutor(1, "checkpoint", _give_way)
        self._working: Future[None] | None = None
        self._buffers: dict[str, Vector] = {}  # what is written lies here, while the steps go on
        self._due_at = clock() + every_s
        self._failures = 0
        self._error: OSError | None = None  # of the last write, if it failed

    def is_due(self, state: ServerState) -> bool:
        """Whether `begin` should be called now. The first time it has buffers made, and says no until they are."""
        if self._clock() < self._due_at or not self._is_idle():
            return False
        missing = {name: vector for name, vector in checkpoint.tensors_of(state).items() if name not in self._buffers}
        if missing:  # memory that nobody has touched yet takes twenty times as long to copy to
            self._working = self._pool.submit(self._make_buffers, missing)
        return not missing

    def begin(self, found: Checkpoint) -> None:
        """Copies the state, and begins to write it; nothing else may be being written."""
        assert self._is_idle(), "one checkpoint at a time"
        tensors = checkpoint.tensors_of(found.server)
        header = checkpoint.header_of(found.step, tensors, found.memory)
        for name, vector in tensors.items():
            np.copyto(self._buffers.setdefault(name, np.empty_like(vector)), vector)
        copied = {name: self._buffers[name] for name in tensors}
        self._due_at = self._clock() + self._every_s
        self._working = self._pool.submit(self._write, found.step, header, copied)

    def finish(self, heed: Callable[[], None]) -> OSError | None:
        """Waits until what was begun is there for good; returns why it is not. `heed` may raise to stop waiting."""
        while self._working is not None and not self._is_idle():
            heed()
            wait([self._working], LOOK_UP_EVERY_S)
        return self._error

    def close(self) -> None:
        """Waits for what is being written, and ends the thread. Repeating is harmless."""
        self._pool.shutdown()

    def _is_idle(self) -> bool:
        """Raises what ended the work before, if that was a mistake of ours or a lack of memory."""
        if self._working is None:
            return True
        if not self._working.done():
            return False
        self._working.result()
        return True

    # ------------------------------------------------------------ in the thread
    def _make_buffers(self, vectors: Mapping[str, Vector]) -> None:
        for name, vector in vectors.items():
            self._buffers[name] = np.full_like(vector, 0)

    def _write(self, step: int, header: bytes, tensors: Mapping[str, Vector]) -> None:
        if not np.isfinite(tensors["parameters"]).all():  # the next step's loss will say so, to the user too
            log.warning("the parameters of step %d are not finite: no checkpoint", step)
            return
        try:
            checkpoint.write(self._storage, step, header, list(tensors.values()))
        except OSError as error:
            self._failed(error)
        else:
            self._kept, self._failures, self._error = step, 0, None
            self._tell("checkpoint", step=step)

    def _failed(self, error: OSError) -> None:
        log.warning("a checkpoint could not be written", exc_info=error)
        words = words_of(error)
        is_news = self._error is None or words_of(self._error) != words
        self._failures += 1
        self._error = error
        self._due_at = self._clock() + retry_write_after_s(self._failures)
        if is_news:
            kept = "there is none yet" if self._kept is None else f"that of step {self._kept} is kept"
            reason = f"checkpoints cannot be written ({words}): {kept}; tried again while it trains"
            self._tell("trouble", reason=reason)


def _give_way() -> None:
    """Lets the process's other threads go first. A niceness above 19 is taken for 19."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + GIVES_WAY_BY)
