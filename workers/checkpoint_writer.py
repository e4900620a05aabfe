"""Writes a job's checkpoints beside its steps, which wait for no more than a copy of the state."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from workers import checkpoint_files
from workers.checkpoint import Checkpoint, header_of, parts_of, tensors_of
from workers.checkpoint_process import CheckpointProcess, ProcessFailed
from workers.failures import retry_write_after_s, words_of
from workers.parameter_server import ServerState, Vector
from workers.storage import Storage

__all__ = ["CheckpointWriter"]

log = logging.getLogger(__name__)

LOOK_UP_EVERY_S = 0.1  # while a checkpoint is waited for: somebody may want to cancel


StartsProcess = Callable[[Mapping[str, int]], CheckpointProcess]
"""Starts a process that writes, by the vectors' sizes. Raises OSError."""


class CheckpointWriter:
    """One thread that has one checkpoint written at a time. What falls due meanwhile waits for the next look.

    Args:
        kept: the step of the newest checkpoint that there is, if any.
        every_s: how long after one checkpoint the next falls due.
        tell: called with the type and the data of a report, in that thread: `checkpoint` when one is there for good,
            `trouble` when the first of several could not be written, or for another reason than the one before.
        starts: what starts the process that writes beside the steps; without, where nobody waits, and after one that
            failed, the thread does.
        damaged: names of checkpoints that are there and damaged.
        unread: of those that could not be read; they are kept until a later one is there.
    """

    def __init__(
        self,
        storage: Storage,
        kept: int | None,
        every_s: float,
        tell: Callable[..., None],
        clock: Callable[[], float],
        starts: StartsProcess | None = None,
        damaged: Sequence[str] = (),
        unread: Sequence[str] = (),
    ) -> None:
        self._starts, self._damaged, self._unread = starts, damaged, unread
        self._process: CheckpointProcess | None = None
        self.kept = kept
        """As above, and later of those that were written."""
        self._storage, self._every_s, self._tell, self._clock = storage, every_s, tell, clock
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._working: Future[None] | None = None
        self._buffers: dict[str, Vector] = {}  # what is written lies here, while the steps go on
        self._due_at = clock() + every_s
        self._failures = 0
        self._error: OSError | None = None  # of the last write, if it failed

    def is_due(self, state: ServerState) -> bool:
        """Whether `begin` should be called now. The first time it has buffers made, and says no until they are."""
        if self._clock() < self._due_at or not self._is_idle():
            return False
        tensors = tensors_of(state)
        lacks = not tensors.keys() <= self._buffers.keys() or (self._process is not None and self._process.has_ended)
        if lacks:  # memory that nobody has touched yet takes twenty times as long to copy to
            self._working = self._pool.submit(self._make_buffers, tensors)
        return not lacks

    def begin(self, found: Checkpoint) -> None:
        """Copies the state, and begins to write it; nothing else may be being written."""
        assert self._is_idle(), "one checkpoint at a time"
        self._hurry(False)
        tensors = tensors_of(found.server)
        header = header_of(found.step, tensors, found.memory)
        for name, vector in tensors.items():
            np.copyto(self._buffers.setdefault(name, np.empty_like(vector)), vector)
        copied = {name: self._buffers[name] for name in tensors}
        self._due_at = self._clock() + self._every_s
        self._working = self._pool.submit(self._write, found.step, header, copied)

    def finish(self, heed: Callable[[], None]) -> OSError | None:
        """Waits until what was begun is there for good; returns why it is not. `heed` may raise to stop waiting."""
        self._hurry(True)
        while self._working is not None and not self._is_idle():
            heed()
            wait([self._working], LOOK_UP_EVERY_S)
        return self._error

    def close(self) -> None:
        """Waits for what is being written, and ends the thread and the process. Repeating is harmless."""
        self._hurry(True)
        self._pool.shutdown()
        self._end_process()

    def _hurry(self, please: bool) -> None:
        process = self._process  # the other thread may take it away meanwhile
        if process is not None:
            process.hurry(please)

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

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
        self._end_process()
        self._process = self._started({name: vector.nbytes for name, vector in vectors.items()})
        if self._process is None:
            self._buffers = {name: np.empty_like(vector) for name, vector in vectors.items()}
        else:
            memory = self._process.memory
            self._buffers = {name: np.frombuffer(memory[name], vector.dtype) for name, vector in vectors.items()}
        for buffer in self._buffers.values():
            buffer.fill(0)

    def _started(self, sizes: Mapping[str, int]) -> CheckpointProcess | None:
        if self._starts is None:
            return None
        try:
            return self._starts(sizes)
        except OSError:
            log.warning("no process that writes checkpoints can be started: a thread writes them", exc_info=True)
            self._starts = None
            return None

    def _write(self, step: int, header: bytes, tensors: Mapping[str, Vector]) -> None:
        if not np.isfinite(tensors["parameters"]).all():  # the next step's loss will say so, to the user too
            log.warning("the parameters of step %d are not finite: no checkpoint", step)
            return
        began = self._clock()
        passed = [name for name in self._unread if checkpoint_files.step_and_digest(name)[0] < step]
        useless = [*self._damaged, *passed]  # they are to take no whole one's place
        try:
            process = self._process
            if process is None or process.has_ended or not tensors.keys() <= process.memory.keys():
                checkpoint_files.write(self._storage, step, parts_of(header, tensors.values()), useless)
            else:
                process.write(step, header, list(tensors), useless)
        except OSError as error:
            if isinstance(error, ProcessFailed):
                self._starts = None  # the next one would as well
            self._failed(error)
        else:
            self.kept, self._failures, self._error = step, 0, None
            size_bytes = len(header) + sum(vector.nbytes for vector in tensors.values())
            self._tell("checkpoint", step=step, size_bytes=size_bytes, duration_s=round(self._clock() - began, 3))

    def _failed(self, error: OSError) -> None:
        log.warning("a checkpoint could not be written", exc_info=error)
        words = words_of(error)
        is_news = self._error is None or words_of(self._error) != words
        self._failures += 1
        self._error = error
        self._due_at = self._clock() + retry_write_after_s(self._failures)
        if is_news:
            kept = "there is none yet" if self.kept is None else f"that of step {self.kept} is kept"
            reason = f"checkpoints cannot be written ({words}): {kept}; tried again while it trains"
            self._tell("trouble", reason=reason)
