"""A relay on real sockets: it waits for a hub that lives, and leaves one that is gone without a word."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from support.staff import Threads
from support.training import job_of
from workers.data import prepare
from workers.gradient_worker import network_of
from workers.job import AttemptLost
from workers.link import ANSWER, ASK, OPENING, STEP
from workers.remote import Hub, HubGone, KeyPair, relay

GONE_FOR_S = 0.2


class RelayAndHub:
    """A relay in a thread, with a worker beside it, and a hub that a test speaks for."""

    def __init__(self, folder: Path) -> None:
        keys, self._context, self.staff = KeyPair.new(), zmq.Context(), Threads()
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.curve_server, self.socket.curve_secretkey, self.socket.linger = True, keys.secret, 0
        self.socket.rcvtimeo = 30_000
        hub = Hub(f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}", keys.public)
        job = job_of(folder)
        self.parameters = network_of(job.plan).initial_parameters(1)
        prepared = prepare(job.plan, job.training, None, Path(job.folder) / "prepared").folder
        self._running = Threads()
        self._running.call(0, relay, KeyPair.new(), hub, range(1, 3), 3, job.plan, prepared, self.staff, GONE_FOR_S)

    def hear(self) -> tuple[bytes, bytes]:
        """Who says something else than that it still opens, and what."""
        while True:
            sender, said, *_ = self.socket.recv_multipart()
            if said != OPENING:
                return sender, said

    def relay_ended_by(self) -> BaseException | None:
        """What ended it, once it has ended, and its worker too."""
        self._running.join()
        self.staff.join()
        try:
            self._running.look(0)
        except BaseException as error:  # noqa: BLE001  (it is told)
            return error
        return None

    def close(self) -> None:
        self.socket.close()
        self._context.term()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[RelayAndHub]:
    found = RelayAndHub(tmp_path / "job")
    yield found
    found.close()
    assert isinstance(found.relay_ended_by(), AttemptLost)


def test_a_relay_whose_hub_is_gone_without_a_word_leaves_and_so_do_its_workers(both: RelayAndHub) -> None:
    both.hear()
    both.socket.close()
    assert isinstance(both.relay_ended_by(), HubGone)


def test_a_relay_whose_hub_was_never_there_leaves(both: RelayAndHub) -> None:
    both.socket.close()
    assert isinstance(both.relay_ended_by(), HubGone)


def test_a_relay_waits_for_a_hub_that_says_nothing_for_long_and_then_asks(both: RelayAndHub) -> None:
    sender, _ = both.hear()
    assert not both.socket.poll(3_000), "nobody is asked, and nobody says anything"
    both.socket.send_multipart([sender, ASK.pack(STEP, 0, 0, 0), both.parameters.data])
    step, _ = ANSWER.unpack_from(both.hear()[1])
    assert step == 0
