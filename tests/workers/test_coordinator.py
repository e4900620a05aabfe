"""An attempt from data to model, in this process: bits, early stopping, pauses, ends."""

import errno
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.metrics import SliceMeasure
from shared.spec import JobSpec
from support.checkpoints import FullDisk, SlowDisk, SmallDisk, steps_in
from support.tables import write_table
from support.training import digest_of, ended, job_of, run
from workers.checkpoint import newest
from workers.coordinator import LOOK_UP_EVERY_S, Coordinator
from workers.disk import DISK, Disk
from workers.job import Report, StopRequest, TrainingJob
from workers.order import ROWS_IN_MEMORY
from workers.parameter_server import ServerState
from workers.planning import plan
from workers.storage import Folder
from workers.transport import LocalTransport


def items(reports: list[Report]) -> list[dict[str, Any]]:
    return [report.data for report in reports if report.type == "metrics"]


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_the_number_of_workers_does_not_change_the_bits(tmp_path: Path, workers: int) -> None:
    alone = digest_of(run(job_of(tmp_path / "alone")))
    assert digest_of(run(job_of(tmp_path / "together"), LocalTransport(workers))) == alone


def test_the_seed_and_the_number_of_shards_are_part_of_the_bits(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"seed": 1}, {"shards": 4}]
    digests = {digest_of(run(job_of(tmp_path / str(n), **change))) for n, change in enumerate(changes)}
    assert len(digests) == 3


class StoppedAt(LocalTransport):
    """Asks its coordinator to stop while a step is being done."""

    def __init__(self, step: int, request: StopRequest) -> None:
        super().__init__(1)
        self._at, self._request = step, request
        self.coordinator: Coordinator | None = None

    def steps(self, first: int, count: int) -> list[float]:
        if first < self._at <= first + count:
            assert self.coordinator is not None
            self.coordinator.request(self._request)
        return super().steps(first, count)


def stop_at(folder: Path, step: int, request: StopRequest = "pause", disk: Disk = DISK, **changes: Any) -> list[Report]:
    transport = StoppedAt(step, request)
    transport.coordinator = Coordinator(job_of(folder, **changes), transport, disk=disk)
    transport.coordinator.run()
    return transport.coordinator.reports(0, 0)


def test_a_job_paused_in_the_middle_of_an_epoch_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    undisturbed = run(job_of(tmp_path / "undisturbed", shuffle=True))
    first = stop_at(tmp_path / "paused", 7)
    assert ended(first)["outcome"] == "paused"
    second = run(job_of(tmp_path / "paused", attempt=2))
    resumed = next(report.data["resumed_from_step"] for report in second if report.type == "started")
    assert resumed >= 7
    assert digest_of(second) == digest_of(undisturbed)
    timing = {"elapsed_s", "samples_per_s"}
    without_timing = [
        {item["step"]: {name: value for name, value in item.items() if name not in timing} for item in told}
        for told in (items(undisturbed), items(first) + items(second))
    ]
    assert without_timing[0] == without_timing[1], "metrics are neither lost nor changed by a pause"


def test_an_attempt_that_pauses_where_it_began_writes_no_checkpoint_anew(tmp_path: Path) -> None:
    class PausedAtOnce(StoppedAt):
        def open(self, *what: Any) -> None:
            super().open(*what)
            assert self.coordinator is not None
            self.coordinator.request(self._request)

    def kept(attempt: int) -> list[int]:
        transport = PausedAtOnce(0, "pause")
        transport.coordinator = Coordinator(job_of(tmp_path / "job", attempt), transport)
        transport.coordinator.run()
        reports = transport.coordinator.reports(0, 0)
        assert ended(reports)["outcome"] == "paused"
        return [report.data["step"] for report in reports if report.type == "checkpoint"]

    assert (kept(1), kept(2)) == ([0], [])


def test_metrics_that_nobody_had_read_when_all_was_killed_are_told_again(tmp_path: Path) -> None:
    """The checkpoint is further than what the control plane had taken in; the items between are not computed again."""
    unread = items(stop_at(tmp_path / "killed", 12))
    assert [item["epoch"] for item in unread] == [1, 2, 3]
    assert items(run(job_of(tmp_path / "killed", attempt=2)))[:3] == unread


def test_metrics_that_were_taken_in_are_not_told_again(tmp_path: Path) -> None:
    class Reader(StoppedAt):
        """Takes in all reports before each run of steps, as a control plane that keeps up does."""

        def steps(self, first: int, count: int) -> list[float]:
            assert self.coordinator is not None
            self.last = max((report.number for report in self.coordinator.reports(self.last, 0)), default=self.last)
            self.coordinator.reports(self.last, 0)
            return super().steps(first, count)

        last = 0

    reader = Reader(12, "pause")
    reader.coordinator = Coordinator(job_of(tmp_path / "job"), reader)
    reader.coordinator.run()
    told_again = [item["epoch"] for item in items(run(job_of(tmp_path / "job", attempt=2)))]
    assert told_again == [3, 4], "epoch 3 ended after the last reading"


def test_a_cancelled_job_ends_without_a_model(tmp_path: Path) -> None:
    end = ended(stop_at(tmp_path / "job", 3, "cancel"))
    assert end["outcome"] == "cancelled"
    assert 3 <= end["progress"]["step"] <= 5, "it says where it stood: it looks up at an epoch's end, or sooner"
    assert not (tmp_path / "job" / "model.safetensors").exists()


def test_the_model_holds_the_parameters_that_the_digest_is_of(tmp_path: Path) -> None:
    import hashlib

    told = digest_of(run(job_of(tmp_path / "job", dtype="float64")))
    tensors = load_file(tmp_path / "job" / "model.safetensors")
    flat = b"".join(tensors[f"layers.{n}.{part}"].tobytes() for n in (0, 1) for part in ("weights", "bias"))
    assert hashlib.sha256(flat).hexdigest() == told


def test_a_diverging_job_fails_at_once_and_names_the_step(tmp_path: Path) -> None:
    end = ended(run(job_of(tmp_path / "job", optimizer={"type": "sgd", "learning_rate": 1e6}, layers=[])))
    assert end["outcome"] == "failed"
    assert end["reason"].startswith("diverged at step ")
    assert end["error"] == "Diverged"


class Scripted(LocalTransport):
    """Trains, but its validation losses are as a test wants them."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(1)
        self._losses = iter(losses)
        self.best: list[ServerState] = []

    def evaluate(self) -> list[SliceMeasure]:
        measured, loss = super().evaluate(), next(self._losses)
        for part in measured:
            part["loss_sum"] = loss * part["rows"]
        return measured

    def keep_best(self) -> None:
        super().keep_best()
        self.best.append(ServerState(self.state().parameters.copy()))


def test_early_stopping_waits_for_its_patience_and_keeps_the_best_epochs_weights(tmp_path: Path) -> None:
    transport = Scripted([0.5, 0.3, 0.4, 0.29, 0.35, 0.36, 0.1])
    job = job_of(tmp_path / "job", epochs=7, early_stopping={"patience": 2, "min_delta": 0.02})
    reports = run(job, transport)
    assert [item["epoch"] for item in items(reports)] == [1, 2, 3, 4], "0.29 improves on 0.3 by less than min_delta"
    assert ended(reports)["metrics"]["validation_loss"] == pytest.approx(0.3)
    assert ended(reports)["reason"] == (
        "trained; stopped early after epoch 4: validation loss had not improved by more than 0.02 for 2 epochs; "
        "weights of epoch 2 kept"
    )
    kept = load_file(tmp_path / "job" / "model.safetensors")["layers.0.weights"]
    assert len(transport.best) == 2
    np.testing.assert_array_equal(kept.ravel(), transport.best[1].parameters[: kept.size])


def test_the_training_loss_stops_a_job_without_validation_by_the_mean_of_each_epoch(tmp_path: Path) -> None:
    changes = {"validation": None, "epochs": 200, "optimizer": {"type": "sgd", "learning_rate": 1e-6}}
    rule = {"metric": "train_loss", "patience": 3, "min_delta": 0.5}
    reports = run(job_of(tmp_path / "job", early_stopping=rule, **changes))
    assert [item["epoch"] for item in items(reports)] == [1, 2, 3, 4]
    assert ended(reports)["reason"] == (
        "trained; stopped early after epoch 4: training loss had not improved by more than 0.5 for 3 epochs; "
        "weights of epoch 1 kept"
    )
    assert ended(reports)["metrics"]["train_loss"] == pytest.approx(items(reports)[0]["train_loss"])


def test_a_job_that_is_not_stopped_early_says_which_weights_it_keeps(tmp_path: Path) -> None:
    patient = run(job_of(tmp_path / "job", early_stopping={"patience": 3}), Scripted([0.5, 0.3, 0.4, 0.4]))
    assert ended(patient)["reason"] == "trained to its end; weights of epoch 2 kept"
    assert ended(run(job_of(tmp_path / "without")))["reason"] is None


def test_progress_never_goes_back_and_ends_at_one(tmp_path: Path) -> None:
    reports = run(job_of(tmp_path / "job"))
    told = [report.data for report in reports if report.type == "progress"]
    assert told == sorted(told, key=lambda data: data["fraction"])
    assert [data["eta_s"] is None for data in told] == [data["step"] == 0 for data in told], (
        "none before the first step"
    )
    end = ended(reports)["progress"]
    assert (end["fraction"], end["step"], end["steps"], end["epoch"]) == (1.0, 20, 20, 4)


def test_a_job_that_may_not_run_longer_fails_and_says_so(tmp_path: Path) -> None:
    end = ended(run(job_of(tmp_path / "job", max_runtime_s=1e-6)))
    assert (end["outcome"], end["error"]) == ("failed", "RanTooLong")
    assert end["reason"].startswith("max_runtime_s: trained for ")


def test_what_was_trained_before_a_pause_counts_towards_the_longest_runtime(tmp_path: Path) -> None:
    paused = ended(stop_at(tmp_path / "job", 7, max_runtime_s=1_000))
    end = ended(run(job_of(tmp_path / "job", attempt=2, max_runtime_s=1e-6)))
    assert (paused["outcome"], end["outcome"], end["error"]) == ("paused", "failed", "RanTooLong")
    assert end["progress"]["step"] == paused["progress"]["step"], "it fails before a further step"


def test_long_epochs_give_more_than_one_item_of_metrics(tmp_path: Path) -> None:
    told = items(run(job_of(tmp_path / "job", batch_size=1, epochs=5, layers=[], validation=None)))
    assert [item["step"] for item in told] == [300, 600, 900, 1200, 1500]


def test_the_penalty_is_part_of_the_losses_that_are_told(tmp_path: Path) -> None:
    frozen = {"optimizer": {"type": "sgd", "learning_rate": 0}, "epochs": 1, "layers": [], "dtype": "float64"}
    plain = items(run(job_of(tmp_path / "plain", **frozen)))[0]
    told = items(run(job_of(tmp_path / "penalized", **frozen, l1=0.5, l2=3.0)))[0]
    weights = load_file(tmp_path / "plain" / "model.safetensors")["layers.0.weights"]
    penalty = 0.5 * np.abs(weights).sum() + 1.5 * np.square(weights).sum()
    assert told["train_loss"] - plain["train_loss"] == pytest.approx(penalty)
    assert told["validation_loss"] - plain["validation_loss"] == pytest.approx(penalty)


def test_a_last_step_that_makes_the_weights_infinite_is_no_success(tmp_path: Path) -> None:
    """The loss of a step is that of the weights before it, so nobody has seen what the last step did."""
    end = ended(
        run(
            job_of(
                tmp_path / "job",
                layers=[],
                loss={"type": "mae"},
                l2=1.0,
                optimizer={"type": "sgd", "learning_rate": 1e6},
                initial_parameters={"weights": [[[1e34], [1e34]]], "biases": [[0.0]]},
                batch_size=300,
                epochs=1,
                validation=None,
            )
        )
    )
    assert (end["outcome"], end["error"]) == ("failed", "Diverged")
    assert not (tmp_path / "job" / "model.safetensors").exists()


# ---------------------------------------------------------------- files that are gone
def test_a_job_whose_data_set_is_missing_fails_and_says_so(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")
    Path(job.training.path).unlink()
    end = ended(run(job))
    assert (end["outcome"], end["error"]) == ("failed", "DataMissing")
    assert "data set ds_test is missing" in end["reason"]


def test_a_job_trains_on_when_its_data_set_vanishes(tmp_path: Path) -> None:
    class Vanishes(LocalTransport):
        def steps(self, first: int, count: int) -> list[float]:
            Path(job.training.path).unlink(missing_ok=True)
            return super().steps(first, count)

    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job = job_of(tmp_path / "job")
    assert digest_of(run(job, Vanishes(1))) == undisturbed


def test_a_job_whose_prepared_files_vanish_while_it_trains_goes_on_and_so_does_its_next_attempt(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    folder = tmp_path / "job" / "prepared"

    class Vanishes(StoppedAt):
        def steps(self, first: int, count: int) -> list[float]:
            shutil.rmtree(folder, ignore_errors=True)
            return super().steps(first, count)

    transport = Vanishes(7, "pause")
    transport.coordinator = Coordinator(job_of(tmp_path / "job"), transport)
    transport.coordinator.run()
    assert ended(transport.coordinator.reports(0, 0))["outcome"] == "paused"
    assert not folder.exists()
    assert digest_of(run(job_of(tmp_path / "job", attempt=2))) == undisturbed


# ---------------------------------------------------------------- orders too long for memory
def test_a_long_order_is_there_before_the_first_step_that_needs_it(tmp_path: Path) -> None:
    """So that no step has to wait for it, which has a deadline."""
    rows = ROWS_IN_MEMORY + 1
    numbers = np.arange(rows) / rows
    table = write_table(tmp_path / "t.arrow", {"a": ("number", numbers), "y": ("number", 2 * numbers)}, 65_536)
    fields = {"dataset": "d", "target": "y", "layers": [], "batch_size": 1_000_000, "epochs": 3, "validation": None}
    planned = plan(JobSpec.model_validate(fields), table, None)
    runs = []

    class Looks(LocalTransport):
        def steps(self, first: int, count: int) -> list[float]:
            epochs = {step // planned.steps_per_epoch for step in (first, first + count - 1)}
            runs.append((len(epochs), (tmp_path / "prepared" / f"order-{min(epochs)}.npy").exists()))
            return super().steps(first, count)

    digest_of(run(TrainingJob("job_test", 1, planned, table, None, str(tmp_path), 1), Looks(1)))
    assert set(runs) == {(1, True)}
    assert not list((tmp_path / "prepared").glob("*.drawn"))


# ---------------------------------------------------------------- checkpoints that cannot be written, or read
ALWAYS = {"checkpoint": {"every_s": 1e-6}}
NO_ROOM = "No space left on device"


def troubles(reports: list[Report]) -> list[str]:
    return [report.data["reason"] for report in reports if report.type == "trouble"]


class WaitsFor(LocalTransport):
    """Takes its time over each step, until something has happened beside."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(1)
        self._event = event

    def steps(self, first: int, count: int) -> list[float]:
        self._event.wait(LOOK_UP_EVERY_S)
        return super().steps(first, count)


def test_a_disk_that_is_full_meanwhile_does_not_disturb_the_training(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    disk = FullDisk("step-")
    reports = run(job_of(tmp_path / "full", **ALWAYS), WaitsFor(disk.has_refused), disk)
    assert digest_of(reports) == undisturbed
    assert troubles(reports) == [
        f"checkpoints cannot be written ({NO_ROOM}): there is none yet; tried again while it trains"
    ]
    assert not [report for report in reports if report.type == "checkpoint"]
    assert disk.refused > 1, "tried again, at the end at the latest"


def test_a_job_whose_prepared_data_find_no_room_pauses_and_trains_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finds_no_room(*_: Any, **_more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("workers.data.write_part", finds_no_room)
        end = ended(run(job_of(tmp_path / "job")))
    assert end["outcome"] == "paused"
    assert end["reason"] == f"the files that it trains from cannot be written: {NO_ROOM}; resume it when there is room"
    assert ended(run(job_of(tmp_path / "job", attempt=2)))["outcome"] == "succeeded"


def test_a_job_whose_prepared_data_would_take_what_is_reserved_pauses_before_it_writes_any(tmp_path: Path) -> None:
    end = ended(run(job_of(tmp_path / "job"), disk=SmallDisk(1_000)))
    assert end["outcome"] == "paused"
    assert end["reason"] == (
        f"the files that it trains from cannot be written: {NO_ROOM} for 3,600 bytes besides what is reserved; "
        "resume it when there is room"
    )
    assert not (tmp_path / "job" / "prepared").exists()
    assert ended(run(job_of(tmp_path / "job", attempt=2)))["outcome"] == "succeeded"


def test_a_trained_job_whose_model_finds_no_room_pauses_and_ends_when_there_is_some(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    end = ended(run(job_of(tmp_path / "job"), disk=FullDisk("model")))
    assert end["outcome"] == "paused"
    assert end["reason"] == (f"it is trained, but its model cannot be written: {NO_ROOM}; resume it when there is room")
    assert end["progress"]["step"] == 20
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == [
        "attempt.1",
        "checkpoints",
        "prepared",
        "table.arrow",
    ]
    second = run(job_of(tmp_path / "job", attempt=2))
    assert [report.data["resumed_from_step"] for report in second if report.type == "started"] == [20]
    assert [report for report in second if report.type == "checkpoint"] == [], "it is there, and nothing is new"
    assert digest_of(second) == undisturbed


def test_a_trained_job_for_which_there_is_no_room_at_all_resumes_from_what_it_had(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    stop_at(tmp_path / "job", 7)
    (kept,) = steps_in(Folder(tmp_path / "job" / "checkpoints"))
    first = run(job_of(tmp_path / "job", attempt=2), disk=FullDisk())
    assert (ended(first)["outcome"], len(troubles(first))) == ("paused", 1)
    second = run(job_of(tmp_path / "job", attempt=3))
    assert [report.data["resumed_from_step"] for report in second if report.type == "started"] == [kept]
    assert digest_of(second) == undisturbed


def test_a_job_that_is_asked_to_pause_while_the_disk_is_full_pauses_and_says_what_it_lost(tmp_path: Path) -> None:
    reports = stop_at(tmp_path / "job", 7, disk=FullDisk())
    assert (ended(reports)["outcome"], ended(reports)["reason"]) == ("paused", None)
    assert len(troubles(reports)) == 1


def test_a_job_that_diverges_keeps_its_last_finite_checkpoint(tmp_path: Path) -> None:
    class Poisoned(LocalTransport):
        def steps(self, first: int, count: int) -> list[float]:
            self.state().parameters[0] = np.nan
            return super().steps(first, count)

    stop_at(tmp_path / "job", 7)
    folder = Folder(tmp_path / "job" / "checkpoints")
    kept = folder.names()
    end = ended(run(job_of(tmp_path / "job", attempt=2, **ALWAYS), Poisoned(1)))
    assert (end["outcome"], end["error"]) == ("failed", "Diverged")
    assert folder.names() == kept
    found, _ = newest(folder)
    assert found is not None and np.isfinite(found.server.parameters).all()


def test_a_cancel_does_not_wait_for_a_checkpoint_and_nothing_is_told_after_the_end(tmp_path: Path) -> None:
    disk = SlowDisk()

    job = job_of(tmp_path / "job", **ALWAYS, epochs=100_000)
    coordinator = Coordinator(job, LocalTransport(1), disk=disk)
    attempt = threading.Thread(target=coordinator.run)
    attempt.start()
    assert disk.has_begun.wait(30)
    coordinator.request("cancel")
    told: list[Report] = []
    while not told or told[-1].type != "ended":
        told += coordinator.reports(told[-1].number if told else 0, 30)
    assert ended(told)["outcome"] == "cancelled"
    assert not disk.may_end.is_set()
    disk.may_end.set()
    attempt.join()
    assert coordinator.reports(told[-1].number, 0) == []


def test_checkpoints_that_cannot_be_read_for_a_moment_are_tried_again(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    stop_at(tmp_path / "job", 7)
    (path,) = (tmp_path / "job" / "checkpoints").iterdir()
    away = path.rename(tmp_path / "away")
    path.mkdir()  # reading fails, for root too

    class BackSoon(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "tried again" in record.getMessage() and path.is_dir():
                path.rmdir()
                away.rename(path)

    watched = logging.getLogger("workers.coordinator")
    watched.addHandler(handler := BackSoon())
    try:
        reports = run(job_of(tmp_path / "job", attempt=2))
    finally:
        watched.removeHandler(handler)
    assert [report.data["resumed_from_step"] for report in reports if report.type == "started"] == [
        int(path.name[5:17])
    ]
    assert digest_of(reports) == undisturbed


def test_a_damaged_checkpoint_is_told_on_the_job_and_does_not_change_the_bits(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    stop_at(tmp_path / "job", 7)
    (path,) = (tmp_path / "job" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    step = int(path.name[5:17])
    reports = run(job_of(tmp_path / "job", attempt=2))
    note = next(report.data["environment"]["note"] for report in reports if report.type == "started")
    assert note == f"the checkpoint of step {step} was damaged: resumed from the beginning"
    assert digest_of(reports) == undisturbed


def test_a_checkpoint_that_cannot_be_read_for_long_is_passed_over_told_and_kept_until_a_later_one_is_there(
    tmp_path: Path,
) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    stop_at(tmp_path / "job", 7)
    stop_at(tmp_path / "job", 12, attempt=2)
    older, newer = sorted((tmp_path / "job" / "checkpoints").iterdir())
    newer.unlink()
    newer.mkdir()  # reading fails, for root too

    class Looks(LocalTransport):
        def steps(self, first: int, count: int) -> list[float]:
            assert newer.exists()
            return super().steps(first, count)

    coordinator = Coordinator(job_of(tmp_path / "job", attempt=3), Looks(1), reads_within_s=0.0)
    coordinator.run()
    reports = coordinator.reports(0, 0)
    note = next(report.data["environment"]["note"] for report in reports if report.type == "started")
    unread, read = (int(path.name[5:17]) for path in (newer, older))
    assert note == f"the checkpoint of step {unread} cannot be read: resumed from step {read}"
    assert digest_of(reports) == undisturbed
