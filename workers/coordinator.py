"""The coordinator: it drives one attempt at a job from its data to its model, and tells how it is going."""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ChainruleError, Diverged, RanTooLong
from shared.metrics import summarize
from shared.schedules import learning_rate_at
from workers.blas import describe, kernel_in_use
from workers.checkpoint import Checkpoint, newest, newest_readable
from workers.checkpoint_files import step_and_digest
from workers.checkpoint_process import CheckpointProcess
from workers.checkpoint_writer import CheckpointWriter
from workers.data import prepare
from workers.disk import DISK, Disk, FencedDisk
from workers.failures import NO_ROOM, pauses_because
from workers.fence import Fence
from workers.gradient_worker import network_of
from workers.job import StopRequest, TrainingJob
from workers.model import write_model
from workers.order import LongOrders
from workers.parameter_server import ServerState
from workers.reports import ReportLog
from workers.storage import Storage, StorageAway, storage_at
from workers.transport import Transport

__all__ = ["Coordinator"]

log = logging.getLogger(__name__)

READS_WITHIN_S, READS_AGAIN_AFTER_S = 60.0, 1.0
LOOK_UP_EVERY_S = 0.1  # how often the coordinator looks up from stepping: to stop, to write a checkpoint, to tell
TELL_EVERY_FRACTION = 0.005  # progress is told when it has moved this much …
TELL_EVERY_S = 10.0  # … or this time has passed
ITEM_EVERY_STEPS = 1000  # long epochs give more than one item of metrics
HIGHER_IS_BETTER = frozenset({"accuracy", "auc", "r2"})


@dataclass
class Memory:
    """What the coordinator must remember across attempts, as JSON data; the rest follows from the plan."""

    blas_kernel: str
    elapsed_s: float = 0.0
    loss_sum: float = 0.0  # of the losses since the last item of metrics, each times its batch's rows
    loss_rows: int = 0
    epoch_loss_sum: float = 0.0  # the same since the epoch began
    epoch_loss_rows: int = 0
    item_elapsed_s: float = 0.0  # when the last item was made
    latest: dict[str, float] = field(default_factory=dict)  # the newest value of each metric
    best: dict[str, float] = field(default_factory=dict)  # the metrics of the best epoch; has "epoch"
    epochs_without_improvement: int = 0
    stopped_early: bool = False
    untold: list[dict[str, Any]] = field(default_factory=list)  # items of metrics that nobody had taken in


class Stopped(Exception):
    """The attempt was asked to stop, or, for a `reason`, cannot go on for now."""

    def __init__(self, request: StopRequest, reason: str | None = None) -> None:
        self.request: StopRequest = request
        self.reason = reason


class Coordinator:
    """Runs one attempt. `run` blocks; `reports` and `request` may be called from other threads meanwhile.

    Args:
        writes_beside: whether checkpoints that fall due are written by a process of their own, rather than by a thread.
        reads_within_s: how long checkpoints that cannot be read are tried again, before an older one does, or the job
            pauses.
    """

    def __init__(
        self,
        job: TrainingJob,
        transport: Transport,
        notes: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        disk: Disk = DISK,
        *,
        writes_beside: bool = False,
        reads_within_s: float = READS_WITHIN_S,
    ) -> None:
        self._job, self._plan, self._spec = job, job.plan, job.plan.spec
        self._writes_beside, self._reads_within_s = writes_beside, reads_within_s
        self._transport, self._notes, self._clock = transport, list(notes), clock
        self._folder = Path(job.folder)
        self._writer: CheckpointWriter | None = None
        folder, rows = self._folder / "prepared", self._plan.training_rows
        self._fence = Fence(self._folder, job.epoch, disk)
        self._disk = FencedDisk(disk, self._fence.mark)
        self._orders = LongOrders(self._spec, rows, self._spec.epochs, folder, check=self._fence.check)
        self._log = ReportLog(self._fence.check)
        self.reports = self._log.after
        self._stop: StopRequest | None = None
        self._asked = threading.Event()
        transport.heed = self._heed_cancel
        self._lock = threading.Lock()
        self._step = 0
        self._opened = False
        self._untold_steps, self._untold_samples, self._untold_s = 0, 0, 0.0  # since progress was told
        self._told_fraction, self._told_at = -1.0, clock()

    def request(self, stop: StopRequest) -> None:
        """Asks the run to stop between two steps; a cancel is stronger than a pause."""
        with self._lock:
            if self._stop != "cancel":
                self._stop = stop
            self._asked.set()

    def run(self) -> None:
        """Trains until the end, a stop or an error; the last report is always `ended`."""
        try:
            self._train()
        except Stopped as stopped:
            outcome = {"pause": "paused", "cancel": "cancelled"}[stopped.request]
            self._end(outcome=outcome, reason=stopped.reason, **self._so_far())
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            reason = pauses_because("the files that it trains from cannot be written", error)
            self._end(outcome="paused", reason=reason, **self._so_far())
        except ChainruleError as error:
            self._end(outcome="failed", reason=str(error), error=type(error).__name__, **self._so_far())
        finally:
            if self._writer is not None:
                self._writer.close()
            self._transport.close()
            self._orders.close()

    # ------------------------------------------------------------ the course of an attempt
    def _train(self) -> None:
        folder = self._folder / "prepared"
        job, began = self._job, self._clock()
        self._fence.take()
        made_of = job.training, job.validation
        self._prepared = prepare(self._plan, *made_of, folder, self._heed_all, job.workers, self._disk)
        self._say_prepared(self._clock() - began)
        self._open()
        while self._step < self._plan.steps and not self._memory.stopped_early:
            self._heed_requests()
            self._regroup()
            self._orders.await_epoch(self._step // self._plan.steps_per_epoch, self._heed_requests)
            count = self._steps_until_look_up()
            began = self._clock()
            losses = self._transport.steps(self._step, count)
            now = self._clock()
            self._step_s = max((now - began) / count, 1e-9)
            self._memory.elapsed_s += now - began
            self._untold_steps, self._untold_s = self._untold_steps + count, self._untold_s + now - began
            self._take_in(losses)
            self._tell_progress()
            self._checkpoint_if_due()
        self._finish()

    def _open(self) -> None:
        """Starts from the newest whole checkpoint, or from the initial weights."""
        kernel = kernel_in_use()
        place = self._job.checkpoints, self._folder / "checkpoints"
        storage = storage_at(*place, self._disk)
        found, damaged, unread = self._newest(storage)
        if found is None:
            parameters = network_of(self._plan).initial_parameters(self._spec.seed, self._spec.initial_parameters)
            state, self._memory = ServerState(parameters), Memory(kernel)
        else:
            state, self._memory, self._step = found.server, Memory(**found.memory), found.step
        self._transport.open(self._plan, self._prepared.folder, state, self._step)
        kept, every_s = None if found is None else found.step, self._spec.checkpoint.every_s
        starts = partial(CheckpointProcess, *place, mark=self._fence.mark) if self._writes_beside else None
        self._writer = CheckpointWriter(storage, kept, every_s, self._log.add, self._clock, starts, damaged, unread)
        self._step_s = LOOK_UP_EVERY_S
        told = describe()
        if len(kernels := self._transport.kernels()) > 1:
            mixed = " and ".join(sorted(kernels))
            self._notes.append(f"computes with the BLAS kernels {mixed}: other bits than with one; force one of them")
        if self._memory.blas_kernel != kernel:
            began = self._memory.blas_kernel
            self._notes.append(f"began on the BLAS kernel {began}, continues on {kernel}: not bit-identical")
        for names, what in ((damaged, "was damaged"), (unread, "cannot be read")):
            if names:
                steps = " and ".join(str(step_and_digest(name)[0]) for name in names)
                since = f"step {self._step}" if self._step else "the beginning"
                self._notes.append(f"the checkpoint of step {steps} {what}: resumed from {since}")
        for note in self._notes:
            self._log.add("log", level="warning", message=note)
        if self._notes:
            told["note"] = "; ".join(self._notes)
        self._log.add(
            "started",
            parameters=self._plan.parameters,
            resumed_from_step=self._step,
            workers=self._transport.workers,
            members=list(self._transport.members),
            environment=told,
        )
        for item in self._memory.untold:
            self._log.add("metrics", **item)
        self._opened = True
        self._tell_progress()

    def _newest(self, storage: Storage) -> tuple[Checkpoint | None, list[str], list[str]]:
        """The newest whole checkpoint, damaged ones, and such as cannot be read. Storage that is away is waited for, a
        while, and so is a single file."""
        began = self._clock()
        while self._clock() - began < self._reads_within_s:
            try:
                return *newest(storage), []
            except StorageAway as error:
                log.warning("the checkpoints cannot be read, tried again: %s", error)
            self._asked.wait(READS_AGAIN_AFTER_S)
            self._heed_all()
        try:
            return newest_readable(storage)
        except StorageAway as error:
            raise Stopped("pause", pauses_because("its checkpoints cannot be read", error)) from error

    def _say_prepared(self, seconds: float) -> None:
        plan = self._plan
        validates = f"{plan.validation_rows:,} to validate on, " if plan.validation_rows else ""
        rows = f"{plan.training_rows:,} rows to train on, {validates}{plan.inputs:,} inputs"
        self._log.add("log", level="info", message=f"the data are ready: {rows}, in {seconds:.1f} s")

    def _heed_stop(self) -> None:
        """Raises Stopped where somebody has asked for it."""
        with self._lock:
            stop = self._stop
        if stop is not None:
            raise Stopped(stop)

    def _heed_all(self) -> None:
        self._heed_stop()
        self._fence.check()

    def _heed_cancel(self) -> None:
        """Raises Stopped where somebody has asked to cancel, even in the middle of a step."""
        if self._stop == "cancel":
            raise Stopped("cancel")

    def _heed_requests(self) -> None:
        try:
            self._heed_stop()
        except Stopped as stopped:
            if stopped.request == "pause":
                self._keep()
            raise
        limit = self._spec.max_runtime_s
        if limit is not None and self._memory.elapsed_s > limit:
            raise RanTooLong(f"max_runtime_s: trained for {self._memory.elapsed_s:.1f} s, allowed {limit:g} s")

    def _regroup(self) -> None:
        """Goes on with those who are there now, and tells how their number has changed."""
        for change in self._transport.regroup():
            self._log.add("workers", step=self._step, **change._asdict())

    def _steps_until_look_up(self) -> int:
        """As many steps as take about LOOK_UP_EVERY_S, but none past an epoch's end where something is due then."""
        count = min(max(1, int(LOOK_UP_EVERY_S / self._step_s)), self._plan.steps - self._step)
        if self._plan.validation_rows or self._spec.early_stopping is not None or self._orders.needed:
            count = min(count, self._plan.steps_per_epoch - self._step % self._plan.steps_per_epoch)
        return count

    # ------------------------------------------------------------ metrics
    def _take_in(self, losses: list[float]) -> None:
        """Counts the losses of the steps just done, and makes the items of metrics that fall due."""
        per_epoch, memory = self._plan.steps_per_epoch, self._memory
        for loss in losses:
            batch = self._step % per_epoch
            rows = min(self._spec.batch_size, self._plan.training_rows - batch * self._spec.batch_size)
            memory.loss_sum += loss * rows
            memory.loss_rows += rows
            memory.epoch_loss_sum += loss * rows
            memory.epoch_loss_rows += rows
            self._untold_samples += rows
            self._step += 1
            epoch_ends = batch + 1 == per_epoch
            if epoch_ends or (batch + 1) % ITEM_EVERY_STEPS == 0:
                self._make_item(epoch_ends=epoch_ends)

    def _make_item(self, *, epoch_ends: bool) -> None:
        memory, epoch = self._memory, -(-self._step // self._plan.steps_per_epoch)
        elapsed = max(memory.elapsed_s - memory.item_elapsed_s, self._step_s)
        metrics = {
            "train_loss": memory.loss_sum / memory.loss_rows,
            "learning_rate": self._learning_rate(),
            "samples_per_s": round(memory.loss_rows / elapsed, 1),
        }
        memory.loss_sum, memory.loss_rows, memory.item_elapsed_s = 0.0, 0, memory.elapsed_s
        if epoch_ends and self._plan.validation_rows:
            began = self._clock()
            metrics |= self._validate()
            memory.elapsed_s += self._clock() - began
            memory.item_elapsed_s = memory.elapsed_s
        if epoch_ends:
            if self._spec.early_stopping is not None:
                self._judge(metrics | {"train_loss": memory.epoch_loss_sum / memory.epoch_loss_rows}, epoch)
            memory.epoch_loss_sum, memory.epoch_loss_rows = 0.0, 0
        memory.latest |= metrics
        self._log.add("metrics", step=self._step, epoch=epoch, elapsed_s=round(memory.elapsed_s, 6), **metrics)

    def _learning_rate(self) -> float:
        """The rate of the step just done."""
        spec, plan = self._spec, self._plan
        return learning_rate_at(
            spec.schedule, spec.optimizer.learning_rate, self._step - 1, plan.steps_per_epoch, plan.steps
        )

    def _validate(self) -> dict[str, float]:
        scales = [target.scale for target in self._prepared.preprocessing.targets]
        metrics = summarize(self._transport.evaluate(), scales)
        metrics["validation_loss"] += self._transport.penalty()
        if not math.isfinite(metrics["validation_loss"]):
            raise Diverged.at(self._step)
        return metrics

    def _judge(self, metrics: dict[str, float], epoch: int) -> None:
        """Early stopping: keeps the best weights, and stops when nothing has improved for too long."""
        rule, memory = self._spec.early_stopping, self._memory
        assert rule is not None
        name = rule.metric if rule.metric == "train_loss" else f"validation_{rule.metric}"
        sign = -1.0 if rule.metric in HIGHER_IS_BETTER else 1.0
        # AUC is not defined while one class is absent, nor R² for a constant target: such an epoch is no improvement.
        gain = sign * (memory.best.get(name, sign * math.inf) - metrics.get(name, sign * math.inf))
        if not memory.best or gain > rule.min_delta:
            memory.best = {**metrics, "epoch": float(epoch)}
            memory.epochs_without_improvement = 0
            self._transport.keep_best()
        else:
            memory.epochs_without_improvement += 1
            memory.stopped_early = memory.epochs_without_improvement >= rule.patience

    # ------------------------------------------------------------ telling and keeping
    def _progress(self, *, done: bool = False) -> dict[str, Any]:
        plan, step = self._plan, self._step
        return {
            "fraction": 1.0 if done else round(step / plan.steps, 6),
            "step": step,
            "steps": plan.steps,
            "epoch": -(-step // plan.steps_per_epoch),
            "epochs": self._spec.epochs,
            "eta_s": 0.0 if done else self._eta_s(),
        }

    def _so_far(self) -> dict[str, Any]:
        """Where an attempt stands that ends before the end; nothing if it had not begun to train."""
        return {"progress": self._progress(), "metrics": dict(self._memory.latest)} if self._opened else {}

    def _eta_s(self) -> float | None:
        """Seconds for the rest, by what the job has done so far, validation included; None before its first step."""
        if not self._step:
            return None
        return round((self._plan.steps - self._step) * self._memory.elapsed_s / self._step, 3)

    def _tell_progress(self) -> None:
        fraction, now = self._step / self._plan.steps, self._clock()
        if fraction - self._told_fraction >= TELL_EVERY_FRACTION or now - self._told_at >= TELL_EVERY_S:
            self._told_fraction, self._told_at = fraction, now
            self._log.add("progress", **self._progress(), metrics=dict(self._memory.latest), trained=self._trained())

    def _trained(self) -> dict[str, float]:
        """What has been done since this was asked before, for whoever counts it."""
        trained = {"steps": self._untold_steps, "samples": self._untold_samples, "seconds": self._untold_s}
        self._untold_steps, self._untold_samples, self._untold_s = 0, 0, 0.0
        return trained

    def _checkpoint_if_due(self) -> None:
        assert self._writer is not None
        if self._step < self._plan.steps and self._writer.is_due(self._transport.state()):
            self._begin_checkpoint(self._writer)

    def _begin_checkpoint(self, writer: CheckpointWriter) -> None:
        self._fence.check()
        self._memory.untold = self._log.unread("metrics")
        writer.begin(Checkpoint(self._step, self._transport.state(), vars(self._memory)))

    def _keep(self) -> None:
        """Has a checkpoint of this step, and waits until it is there for good, or cannot be written. One that is there
        is not written anew: whoever counts losses would take it for progress."""
        assert self._writer is not None
        self._writer.finish(self._heed_cancel)
        if self._writer.kept != self._step:
            self._begin_checkpoint(self._writer)
            self._writer.finish(self._heed_cancel)

    def _finish(self) -> None:
        state = self._transport.state()
        kept = state.parameters if state.best is None else state.best
        if not np.isfinite(kept).all():  # the last update, whose loss nobody has seen
            raise Diverged.at(self._step - 1)
        self._keep()  # a job without it is done all the same, if its model can be written
        digest = hashlib.sha256(kept.astype(kept.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()
        path = self._folder / "model.safetensors"
        try:
            write_model(path, self._plan, self._prepared.preprocessing, kept, digest, self._disk)
        except OSError as error:
            self._fence.check()
            raise Stopped("pause", pauses_because("it is trained, but its model cannot be written", error)) from error
        metrics = self._memory.latest | self._memory.best
        metrics.pop("epoch", None)
        self._end(
            outcome="succeeded",
            reason=self._early_stopping_said(),
            parameters_sha256=digest,
            metrics=metrics,
            progress=self._progress(done=True),
        )

    def _early_stopping_said(self) -> str | None:
        """Why training ended when it did, and which weights are kept; None without early stopping."""
        rule, memory = self._spec.early_stopping, self._memory
        if rule is None:
            return None
        kept = f"weights of epoch {memory.best['epoch']:.0f} kept"
        if not memory.stopped_early:
            return f"trained to its end; {kept}"
        epoch, waited = self._progress()["epoch"], memory.epochs_without_improvement
        by = f" by more than {rule.min_delta:g}" if rule.min_delta else ""
        watched = "training loss" if rule.metric == "train_loss" else f"validation {rule.metric}"
        what = f"{watched} had not improved{by} for {waited} {'epoch' if waited == 1 else 'epochs'}"
        return f"trained; stopped early after epoch {epoch}: {what}; {kept}"

    def _end(self, *, outcome: str, reason: str | None = None, **data: Any) -> None:
        self._log.add("ended", outcome=outcome, reason=reason, trained=self._trained(), **data)
