"""The direct transport: the bits of the reference, and no trace when a party is gone, however it ended."""

import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.metrics import SliceMeasure
from shared.plan import Plan
from shared.sharding import SLICE_ROWS
from shared.spec import JobSpec
from support.staff import ChangingCrew, Processes, RelayInThread, Threads, direct
from support.training import SPEC, digest_of, ended, job_of, run, table_of, wave
from workers import deadline, link, remote
from workers.coordinator import Coordinator
from workers.crew import Formation
from workers.direct import DirectTransport
from workers.gradient_worker import GradientWorker, Part, network_of
from workers.job import AttemptLost, PreparedGone, Report, TrainingJob, WorkerLost
from workers.link import HELLO, SECRET_BYTES, Entrance, Links, serve
from workers.parameter_server import ServerState
from workers.planning import plan
from workers.remote import Hub, KeyPair, RemoteNodes
from workers.transport import Change

SPECS: list[dict[str, Any]] = [
    {},
    {"dtype": "float64", "shards": 5, "batch_size": 33, "optimizer": {"type": "sgd"}, "l2": 0.1, "clip_norm": 0.5},
    {"shards": 13, "batch_size": 7, "epochs": 1},
]


@pytest.mark.parametrize("changes", SPECS)
@pytest.mark.parametrize("counts", [[1], [2], [3], [1, 1], [2, 1], [1, 2, 2]], ids=str)
def test_any_layout_of_workers_gives_the_bits_of_one_process(
    tmp_path: Path, counts: list[int], changes: dict[str, Any]
) -> None:
    alone = digest_of(run(job_of(tmp_path / "alone", **changes)))
    job = job_of(tmp_path / "direct", **changes)
    assert digest_of(run(job, direct(job.plan, counts))) == alone


def classification(folder: Path, classes: int) -> TrainingJob:
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, 300))
    folder.mkdir()
    table = table_of(folder, {"a": a, "b": b, "y": (a > b) + (classes - 2.0) * (a > 1)})
    spec = {"dataset": "x", "target": "y", "task": "classification", "epochs": 2, "validation": {"fraction": 0.5}}
    return TrainingJob("job_test", 1, plan(JobSpec.model_validate(spec), table, None), table, None, str(folder), 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_what_validation_measures_travels_whole(tmp_path: Path, classes: int) -> None:
    found = []
    for name, counts in (("local", None), ("direct", [2]), ("nodes", [1, 1])):
        job = classification(tmp_path / name, classes)
        end = ended(run(job, None if counts is None else direct(job.plan, counts)))
        found.append({key: value for key, value in end["metrics"].items() if key != "samples_per_s"})
    assert found[0] == found[1] == found[2]
    assert ("validation_auc" in found[0]) == (classes == 2)


def test_everybody_leaves_when_the_server_hangs_up(tmp_path: Path) -> None:
    job, staff = job_of(tmp_path / "job"), Threads()
    before = {thread.name for thread in threading.enumerate()}
    crew = ChangingCrew([2, 1], staff)
    transport = DirectTransport(job.plan, crew, "127.0.0.1")
    run(job, transport)
    staff.join()
    for node in crew.relays:
        node.join()
    transport.close()  # repeating is harmless
    assert {thread.name for thread in threading.enumerate()} <= before


class Elsewhere(Threads):
    """Whose files are somewhere else."""

    def start(self, worker: int, *arguments: Any) -> None:
        *others, prepared = arguments
        super().start(worker, *others, prepared.parent / "nowhere")


@pytest.mark.parametrize("counts", [[2], [1, 2]], ids=str)
def test_whoever_finds_no_prepared_data_ends_the_attempt_as_the_others_would_not_go_on_for_long(
    tmp_path: Path, counts: list[int]
) -> None:
    job = job_of(tmp_path / "job")
    with pytest.raises(PreparedGone, match="prepared data are gone"):
        run(job, DirectTransport(job.plan, ChangingCrew(counts, Elsewhere(), Elsewhere()), "127.0.0.1"))


def start_of(job: TrainingJob) -> ServerState:
    return ServerState(network_of(job.plan).initial_parameters(0))


class Disturbed(DirectTransport):
    """Something happens just before some steps."""

    def __init__(self, plan: Plan, crew: ChangingCrew, events: dict[int, Callable[[], None]]) -> None:
        super().__init__(plan, crew, "127.0.0.1")
        self._events = dict(events)

    def _computed(self, step: int) -> list[Part]:
        self._events.pop(step, lambda: None)()
        return super()._computed(step)


def changes_of(told: list[Report]) -> list[tuple[int, str]]:
    return [(report.data["workers"], report.data["why"]) for report in told if report.type == "workers"]


def test_a_killed_workers_shards_go_to_the_others_in_the_same_step(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job, staff = job_of(tmp_path / "job", workers=3), Processes()
    told = run(job, Disturbed(job.plan, ChangingCrew([3], staff), {7: lambda: staff.kill(1)}))
    assert digest_of(told) == undisturbed
    lost = "gradient worker 1 was lost: gradient worker 1 died; its shards went to the others"
    assert changes_of(told) == [(2, lost)]
    (change,) = [report.data for report in told if report.type == "workers"]
    assert (change["before"], change["members"], change["lost"]) == ([0, 1, 2], [0, 1], True)
    assert (list(change["gone"]), change["in_vain"]) == ([1], [])


def test_when_everybody_else_is_killed_the_coordinator_trains_alone(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job, staff = job_of(tmp_path / "job", workers=3), Processes()
    kills = {3: lambda: staff.kill(2), 9: lambda: staff.kill(1)}
    told = run(job, Disturbed(job.plan, ChangingCrew([3], staff), kills))
    assert digest_of(told) == undisturbed
    assert [workers for workers, _ in changes_of(told)] == [2, 1]


def test_an_attempt_whose_prepared_data_are_gone_when_it_forms_up_anew_is_lost_and_the_next_one_makes_them_anew(
    tmp_path: Path,
) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job = job_of(tmp_path / "job", workers=2)
    crew = ChangingCrew([1])

    def grow() -> None:
        shutil.rmtree(tmp_path / "job" / "prepared")
        crew.resize(2)

    with pytest.raises(PreparedGone, match="prepared data are gone"):
        run(job, Disturbed(job.plan, crew, {7: grow}))
    assert digest_of(run(job_of(tmp_path / "job", attempt=2))) == undisturbed


def test_who_died_before_the_first_step_is_told_as_gone_so_that_somebody_takes_the_place(tmp_path: Path) -> None:
    class DiedAtOnce(ChangingCrew):
        def muster(self, accused: Sequence[int] = ()) -> Formation:
            return super().muster(accused)._replace(gone=[2])

    job = job_of(tmp_path / "job", workers=3)
    told = run(job, DirectTransport(job.plan, DiedAtOnce([2]), "127.0.0.1"))
    assert changes_of(told) == [(2, "a process that was to join did not")]
    (change,) = [report.data for report in told if report.type == "workers"]
    assert (change["before"], change["members"], change["gone"], change["lost"]) == ([0, 1], [0, 1], [2], False)
    assert change["in_vain"] == [2]


def test_a_hanging_worker_is_given_up_and_what_it_computes_late_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LOOK_UP_EVERY_S", 0.05)
    monkeypatch.setattr(deadline, "STEP_WITHIN_S", 0.5)
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job, staff = job_of(tmp_path / "job", workers=2), Processes()
    signals = {7: lambda: staff.signal(1, signal.SIGSTOP), 8: lambda: staff.signal(1, signal.SIGCONT)}
    told = run(job, Disturbed(job.plan, ChangingCrew([2], staff), signals))
    assert digest_of(told) == undisturbed
    ((workers, why),) = changes_of(told)
    assert (workers, why[:31]) == (1, "gradient worker 1 was silent fo")
    assert staff.exit_codes() == [0], "it found that nobody waits for it, and left"


class Slow(GradientWorker):
    """Takes longer to open than a step may last, and so does a validation of several slices."""

    LASTS_S = 0.8

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        time.sleep(self.LASTS_S)

    def evaluate(self, slices: Sequence[int]) -> Iterator[tuple[int, SliceMeasure]]:
        for measured in super().evaluate(slices):
            time.sleep(self.LASTS_S / 4)
            yield measured


class SlowThreads(Threads):
    def start(self, worker: int, *arguments: Any) -> None:
        self.call(worker, partial(serve, make=Slow), arguments[0], worker, *arguments[1:])


@pytest.mark.parametrize("counts", [[2], [1, 2]], ids=str)
def test_who_opens_or_validates_for_longer_than_a_step_may_last_is_not_given_up(
    tmp_path: Path, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LOOK_UP_EVERY_S", 0.05)
    monkeypatch.setattr(link, "SAYS_SO_EVERY_S", 0.1)
    monkeypatch.setattr(remote, "LOOK_UP_EVERY_MS", 50)
    monkeypatch.setattr(deadline, "STEP_WITHIN_S", 0.5)
    folder, slices = tmp_path / "job", 4 * sum(counts)
    folder.mkdir()
    spec = {**SPEC, "dataset": "x", "epochs": 1, "batch_size": 5_000, "validation": {"fraction": 0.9}}
    table = wave(folder, rows=slices * SLICE_ROWS * 10 // 9)
    job = TrainingJob("job_test", 1, plan(JobSpec.model_validate(spec), table, None), table, None, str(folder), 1)
    told = run(job, DirectTransport(job.plan, ChangingCrew(counts, SlowThreads(), SlowThreads()), "127.0.0.1"))
    assert ended(told)["outcome"] == "succeeded"
    assert changes_of(told) == []


class Mute(Threads):
    """Joins, and is never heard of again."""

    def start(self, worker: int, *arguments: Any) -> None:
        self.call(worker, self._join, arguments[0], worker)

    @staticmethod
    def _join(entrance: Entrance, worker: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as joined:
            joined.connect(entrance.address)
            joined.sendall(HELLO.pack(entrance.secret, worker, b""))
            while joined.recv(1):
                pass


def test_a_worker_that_hangs_while_it_opens_is_given_up_as_soon_as_one_that_hangs_in_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LOOK_UP_EVERY_S", 0.05)
    monkeypatch.setattr(deadline, "STEP_WITHIN_S", 0.5)
    job, staff = job_of(tmp_path / "job"), Mute()
    told = run(job, DirectTransport(job.plan, ChangingCrew([2], staff), "127.0.0.1"))
    ((workers, why),) = changes_of(told)
    assert (workers, why) == (1, "gradient worker 1 was silent for 1 s; its shards went to the others")
    staff.join()


def test_who_was_given_up_before_a_step_was_done_with_them_was_there_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next to the same number, and computes, was not."""
    monkeypatch.setattr(link, "LOOK_UP_EVERY_S", 0.05)
    monkeypatch.setattr(deadline, "STEP_WITHIN_S", 0.5)
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job, mute, staff = job_of(tmp_path / "job"), Mute(), Threads()
    crew = ChangingCrew([1], mute)

    def another() -> None:
        crew.staff = staff
        crew.resize(2)

    sizes: list[Callable[[], None]] = [lambda: crew.resize(2), another]

    class Growing(DirectTransport):
        def regroup(self) -> list[Change]:
            if sizes:
                sizes.pop(0)()
            return super().regroup()

        def _computed(self, step: int) -> list[Part]:
            parts = super()._computed(step)
            if crew.staff is staff and self.workers == 2:
                raise WorkerLost("it computed, and died", [1])
            return parts

    told = run(job, Growing(job.plan, crew, "127.0.0.1"))
    assert digest_of(told) == undisturbed
    changes = [report.data for report in told if report.type == "workers"]
    assert [(list(change["gone"]), list(change["in_vain"])) for change in changes] == [
        ([], []),
        ([1], [1]),
        ([], []),
        ([1], []),
    ]
    mute.join()


def test_workers_come_and_go_between_steps_without_changing_a_bit(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job, crew = job_of(tmp_path / "job", workers=2), ChangingCrew([2])
    sizes = [(1,), (3,), (2, 2), (1,)]

    class Resized(DirectTransport):
        def regroup(self) -> list[Change]:
            if sizes:
                crew.resize(*sizes.pop(0))
            return super().regroup()

    told = run(job, Resized(job.plan, crew, "127.0.0.1"))
    assert digest_of(told) == undisturbed
    assert changes_of(told) == [
        (1, "a gradient worker left"),
        (3, "2 gradient workers joined"),
        (4, "a gradient worker joined"),
        (1, "3 gradient workers left"),
    ]
    assert not any(report.data["lost"] for report in told if report.type == "workers")


def test_the_loss_of_a_worker_on_another_node_is_told_by_its_relay(tmp_path: Path) -> None:
    undisturbed = digest_of(run(job_of(tmp_path / "undisturbed")))
    job, there = job_of(tmp_path / "job", workers=3), Processes()
    crew = ChangingCrew([1, 2], there=there)
    told = run(job, Disturbed(job.plan, crew, {7: lambda: there.kill(2)}))
    assert digest_of(told) == undisturbed
    lost = "gradient worker 2 was lost: gradient worker 2 died; its shards went to the others"
    assert changes_of(told) == [(2, lost)]


def test_shared_memory_has_no_name_that_could_outlive_a_killed_server(tmp_path: Path) -> None:
    """The memory is an anonymous file, and the socket's name is gone with the processes, which leave by themselves."""
    script = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
from support.staff import Processes, direct
from support.training import job_of, run
from workers.gradient_worker import network_of
from workers.parameter_server import ServerState

if __name__ == "__main__":
    folder, staff = Path(sys.argv[1]), Processes()
    job = job_of(folder)
    run(job)
    transport = direct(job.plan, [3], staff)
    transport.open(job.plan, folder / "prepared", ServerState(network_of(job.plan).initial_parameters(0)), 0)
    transport.steps(0, 2)
    assert "/memfd:chainrule (deleted)" in Path("/proc/self/maps").read_text()
    print(transport._links.entrance.address[1:].decode(), *[p.pid for p in staff._processes.values()], flush=True)
    sys.stdin.read()
"""
    file = tmp_path / "server.py"
    file.write_text(script)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(file), str(tmp_path / "job")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        address, *workers = server.stdout.readline().split()
        assert len(workers) == 2
        watched = [os.pidfd_open(int(worker)) for worker in workers]
        assert f"@{address}" in Path("/proc/net/unix").read_text()
        server.kill()
        server.wait()
    for descriptor in watched:  # readable when the process has ended: it left by itself
        assert select.select([descriptor], [], [], 30)[0]
        os.close(descriptor)
    assert f"@{address}" not in Path("/proc/net/unix").read_text()


def test_who_does_not_know_the_secret_gets_no_memory_and_holds_nobody_up(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")
    run(job)
    links = Links(job.plan, range(2), range(2), 2)
    answers = []
    for hello in (HELLO.pack(bytes(SECRET_BYTES), 1, b"x"), HELLO.pack(links.entrance.secret, 0, b"x"), b""):
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stranger.connect(links.entrance.address)
        stranger.sendall(hello)
        stranger.shutdown(socket.SHUT_WR)
        answers.append(stranger)
        links._let_in(links._door.accept()[0])
    assert [socket.recv_fds(stranger, 1, 1)[:2] for stranger in answers] == [(b"", [])] * 3
    for stranger in answers:
        stranger.close()
    links.open(Threads(), tmp_path / "job" / "prepared")
    assert len(links.gradients(0)) == 2
    links.close()


def test_without_room_for_the_vectors_making_links_is_an_error_and_no_crash(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            Links(job.plan, range(1), range(1), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Impostor(RelayInThread):
    """A relay that comes with another key than the one that was handed round."""

    def start(self, hub: Hub, *arguments: Any) -> None:
        told, self._keys = self._keys, KeyPair.new()
        super().start(hub, *arguments)
        self._keys = told

    def start_honestly(self, hub: Hub, *arguments: Any) -> None:
        super().start(hub, *arguments)


def test_a_relay_whose_key_was_not_handed_round_is_not_let_in(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")
    run(job)
    node = Impostor(range(1, 2))
    nodes = RemoteNodes([node], "127.0.0.1", deadline.Deadline(job.plan), opens_within_s=1.0)
    arguments = (2, job.plan, tmp_path / "job" / "prepared")
    nodes.start(*arguments)
    with pytest.raises(WorkerLost, match="relay was silent"):
        nodes.accept()
    node.start_honestly(nodes._hub, *arguments)
    nodes.accept()
    nodes.close()
    node.join()


def test_a_cancel_is_heeded_while_a_worker_hangs(tmp_path: Path) -> None:
    job, staff = job_of(tmp_path / "job", attempt=2, epochs=1000), Processes()
    run(job_of(tmp_path / "job", epochs=1000, max_runtime_s=0.01))  # prepares the data
    transport = direct(job.plan, [2], staff)
    coordinator = Coordinator(job, transport)
    running = threading.Thread(target=coordinator.run)
    running.start()
    told = coordinator.reports(0, 30)
    while not any(report.type == "metrics" for report in told):
        told += coordinator.reports(told[-1].number, 30)
    staff.signal(1, signal.SIGSTOP)
    coordinator.request("cancel")
    running.join(30)
    assert not running.is_alive()
    assert coordinator.reports(told[-1].number, 0)[-1].data["outcome"] == "cancelled"
    staff.signal(1, signal.SIGCONT)
    assert staff.exit_codes() == [0]


def test_a_worker_that_answers_another_step_is_not_believed(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job")
    run(job)
    transport = direct(job.plan, [2])
    transport.open(job.plan, tmp_path / "job" / "prepared", start_of(job), 0)
    transport._links._sockets[1].sendall(link.ASK.pack(link.STEP, 5, 4, 8))  # type: ignore[attr-defined]
    with pytest.raises(AttemptLost, match="answered step 5, expected 0"):
        transport.steps(0, 1)
    transport.close()
