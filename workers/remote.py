"""Workers on other nodes: the server sends the weights to one relay a node, which sends one sum of gradients back.

Vectors travel as ZeroMQ messages over TCP, authenticated and encrypted by CURVE (Curve25519, http://curvezmq.org).
Every party makes its own key pair; only public keys are handed round, through Ray. A relay stands to the workers of its
node as the server does to those of its own: shared memory and a doorbell (`workers/link.py`).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from shared.plan import Plan
from shared.sharding import ADD, batch_rows, summation
from workers.deadline import Deadline
from workers.gradient_worker import Part
from workers.job import AttemptLost, InternalError, OutOfMemory, PreparedGone, WorkerLost
from workers.link import (
    ANSWER,
    ASK,
    MEASURE,
    OPENING,
    OPENS_WITHIN_S,
    PART,
    STEP,
    Links,
    Opening,
    Staff,
    pack_parts,
    unpack_part,
)
from workers.transport import Vectors, slices_of

__all__ = ["Hub", "HubGone", "KeyPair", "RemoteNode", "RemoteNodes", "relay"]

LOOK_UP_EVERY_MS: Final = 1000
ENDS_WITHIN_MS: Final = 1000  # for the last message to leave
HEARTBEAT_EVERY_MS: Final = 5_000
HEARTBEAT_WITHIN_MS: Final = 30_000
GONE_FOR_S: Final = 60.0  # longer than any recovery: a hub that lives has replaced us by then
LEAVE: Final = 0  # beside STEP and MEASURE


class KeyPair(NamedTuple):
    """A CURVE key pair, in ZeroMQ's own text form."""

    public: bytes
    secret: bytes

    @classmethod
    def new(cls) -> "KeyPair":
        return cls(*zmq.curve_keypair())


class Hub(NamedTuple):
    """Where relays connect to, and whom they must find there."""

    address: str
    public_key: bytes


class RemoteNode(Protocol):
    """One other node's relay, as whoever supervises it offers it."""

    members: range
    """The job's workers on that node."""
    public_key: bytes
    """The relay's."""

    def start(self, hub: Hub, workers: int, plan: Plan, prepared: Path) -> None:
        """Has the relay's process call `relay`; returns at once."""

    def look(self) -> None:
        """Raises what ended the relay, or AttemptLost, if it has ended."""


class RemoteNodes:
    """The server's side: all relays, at one socket that listens on `address`."""

    def __init__(
        self,
        nodes: Sequence[RemoteNode],
        address: str,
        deadline: Deadline,
        opens_within_s: float = OPENS_WITHIN_S,
    ) -> None:
        self.kernels: set[str] = set()
        self._deadline, self._opens_within_s = deadline, opens_within_s
        self._nodes = {_name(node.members): node for node in nodes}
        self._slices: dict[bytes, int] = {}  # of the validation, that each node measures
        self._context = zmq.Context()
        self._guard = ThreadAuthenticator(self._context)
        self._guard.start()
        self._guard.configure_curve_callback(credentials_provider=_Guests({node.public_key for node in nodes}))
        self._socket = self._context.socket(zmq.ROUTER)
        keys = KeyPair.new()
        self._socket.curve_server, self._socket.curve_secretkey = True, keys.secret
        self._socket.router_mandatory, self._socket.linger = True, ENDS_WITHIN_MS
        _keep_alive(self._socket)
        try:
            port = self._socket.bind_to_random_port(f"tcp://{address}")
        except zmq.ZMQError:
            self.close()
            raise
        self._hub = Hub(f"tcp://{address}:{port}", keys.public)

    def start(self, workers: int, plan: Plan, prepared: Path, heed: Callable[[], None] = lambda: None) -> None:
        """Has every relay started; returns at once. `heed` is called now and then while they are waited for."""
        self._heed = heed
        slices = slices_of(plan, workers)
        for name, node in self._nodes.items():
            self._slices[name] = sum(len(slices[worker]) for worker in node.members)
            node.start(self._hub, workers, plan, prepared)

    def accept(self) -> None:
        """Waits until every relay has all its workers."""
        began, missing = time.monotonic(), dict.fromkeys(self._nodes, 1)
        for name, (told,) in self._heard(missing, min(self._deadline.within_s, self._opens_within_s)):
            if told.bytes == OPENING:
                missing[name] += 1
                if time.monotonic() - began > self._opens_within_s:
                    raise WorkerLost("another node's relay did not get ready", self._nodes[name].members)
            else:
                self.kernels |= set(json.loads(told.bytes))

    def ask_for_gradients(self, step: int, parameters: npt.NDArray[np.floating]) -> None:
        self._ask(ASK.pack(STEP, step, 0, 0), parameters)

    def ask_for_measures(self, parameters: npt.NDArray[np.floating]) -> None:
        self._ask(ASK.pack(MEASURE, 0, 0, 0), parameters)

    def parts(self, step: int, vectors: Vectors) -> list[Part]:
        """The answers to `ask_for_gradients`, the gradients copied into the rows of the node's workers."""
        found = []
        for node, (head, *gradients) in self._answers():
            answered, count = ANSWER.unpack_from(head.buffer)
            if answered != step or count != len(gradients):
                raise AttemptLost(f"a relay answered step {answered} with {len(gradients)} gradients, expected {step}")
            told = [unpack_part(each) for each in PART.iter_unpack(head.buffer[ANSWER.size :])]
            for part, gradient in zip(vectors.placed(node.members.start, told), gradients, strict=True):
                row = vectors.gradients[part.row]
                np.copyto(row[: len(vectors.parameters)], np.frombuffer(gradient.buffer, row.dtype))
                found.append(part)
        return found

    def measures(self) -> list[tuple[int, bytes]]:
        """The answers to `ask_for_measures`."""
        told = self._heard(self._slices, self._deadline.slice_within_s)
        return [(ANSWER.unpack_from(frame.buffer)[0], bytes(frame.buffer[ANSWER.size :])) for _, (frame,) in told]

    def close(self) -> None:
        """Has the relays leave."""
        for name in self._nodes:
            try:
                self._socket.send_multipart([name, ASK.pack(LEAVE, 0, 0, 0)])
            except zmq.ZMQError:  # it never came, or has gone
                continue
        self._socket.close()
        self._guard.stop()
        self._context.term()

    def _ask(self, order: bytes, parameters: npt.NDArray[np.floating]) -> None:
        # Not copied: the weights change only after every relay has answered, and so has read them.
        for name, node in self._nodes.items():
            try:
                self._socket.send_multipart([name, order, parameters.data], copy=False)
            except zmq.ZMQError as error:
                _look(node)
                raise WorkerLost("the connection to another node broke", node.members) from error

    def _answers(self) -> list[tuple[RemoteNode, list[zmq.Frame]]]:
        """One message of every relay, in the order of the nodes."""
        found = dict(self._heard(dict.fromkeys(self._nodes, 1), self._deadline.within_s))
        return [(node, found[name]) for name, node in self._nodes.items()]

    def _heard(self, expected: Mapping[bytes, int], within_s: float) -> Iterator[tuple[bytes, list[zmq.Frame]]]:
        """So many messages of each relay, as they come. Raises WorkerLost when one is silent for longer."""
        heard, at = dict.fromkeys(self._nodes, 0), dict.fromkeys(self._nodes, time.monotonic())
        looked_at = time.monotonic()
        while missing := [name for name in self._nodes if heard[name] < expected[name]]:
            if self._socket.poll(LOOK_UP_EVERY_MS):
                sender, *frames = self._socket.recv_multipart(copy=False)
                heard[sender.bytes], at[sender.bytes] = heard[sender.bytes] + 1, time.monotonic()
                yield sender.bytes, frames
            if time.monotonic() - looked_at < LOOK_UP_EVERY_MS / 1e3:  # also while some of them never rest
                continue
            looked_at = time.monotonic()
            self._heed()
            for name in (name for name in missing if heard[name] < expected[name]):
                _look(self._nodes[name])
                silent_s = time.monotonic() - at[name]
                if silent_s > within_s:
                    why = f"another node's relay was silent for {silent_s:.0f} s"
                    raise WorkerLost(why, self._nodes[name].members)


def _look(node: RemoteNode) -> None:
    """Raises what ended a node's relay, if anything."""
    try:
        node.look()
    except (InternalError, OutOfMemory, PreparedGone, WorkerLost):
        raise
    except AttemptLost as loss:
        raise WorkerLost(f"another node's relay was lost: {loss}", node.members) from loss


class _Guests:
    """Lets in whose public key was handed round: what the authenticator of pyzmq asks."""

    def __init__(self, keys: set[bytes]) -> None:
        self._keys = keys

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self._keys


class HubGone(AttemptLost):
    """A relay's server is gone without a word, and nobody will ask the relay for anything any more."""


def relay(
    keys: KeyPair,
    hub: Hub,
    members: range,
    workers: int,
    plan: Plan,
    prepared: Path,
    staff: Staff,
    gone_for_s: float = GONE_FOR_S,
) -> None:
    """A relay's side: has the workers of its node join, and works for the hub until it is told to leave.

    Raises OSError when the node has no memory for the vectors, WorkerLost when one of its workers is lost, HubGone when
    there was no connection to the hub for so long.
    """
    deadline = Deadline(plan)
    links = Links(plan, members, members, workers, deadline=deadline)
    context = zmq.Context()
    upward = context.socket(zmq.DEALER)
    line = _Line(upward, gone_for_s)
    try:
        upward.curve_publickey, upward.curve_secretkey = keys
        upward.curve_serverkey, upward.identity, upward.linger = hub.public_key, _name(members), 0
        _keep_alive(upward)
        upward.connect(hub.address)
        opening = Opening(partial(upward.send, OPENING))
        links.open(staff, prepared, opening)
        opening.is_over = True
        upward.send(json.dumps(sorted(links.kernels)).encode())
        while True:
            order, *weights = line.order()
            kind, step, _, _ = ASK.unpack(order.buffer)
            if kind == LEAVE:
                return
            np.copyto(links.vectors.parameters, np.frombuffer(weights[0].buffer, links.vectors.parameters.dtype))
            if kind == STEP:
                began = time.monotonic()
                parts = _summed(plan, step, links.gradients(step), links.vectors)
                deadline.took(time.monotonic() - began)
                gradients = [links.vectors.gradients[part.row, : plan.parameters].data for part in parts]
                numbered = [part._replace(row=number) for number, part in enumerate(parts)]
                upward.send_multipart([pack_parts(step, numbered), *gradients], copy=False)
            else:
                for index, packed in links.measures():
                    upward.send(ANSWER.pack(index, len(packed)) + packed)
    finally:
        links.close()
        line.close()
        context.term()


class _Line:
    """A relay's connection to its hub. A hub may say nothing for long, but while it lives its ZeroMQ answers
    heartbeats."""

    def __init__(self, socket: zmq.Socket[bytes], gone_for_s: float) -> None:
        self._socket, self._gone_for_s = socket, gone_for_s
        self._events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._gone_since: float | None = time.monotonic()
        socket.rcvtimeo = LOOK_UP_EVERY_MS

    def order(self) -> list[zmq.Frame]:
        """The hub's next one, however long that takes. Raises HubGone."""
        while True:
            try:
                return self._socket.recv_multipart(copy=False)
            except zmq.Again:
                self._look()

    def close(self) -> None:
        self._socket.disable_monitor()
        self._events.close(0)
        self._socket.close()

    def _look(self) -> None:
        now = time.monotonic()
        while self._events.poll(0):
            connected = recv_monitor_message(self._events)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._gone_since = None if connected else self._gone_since or now  # it is told of each try that fails
        if self._gone_since is not None and now - self._gone_since > self._gone_for_s:
            raise HubGone(f"the server was gone for {self._gone_for_s:.0f} s")


def _summed(plan: Plan, step: int, parts: list[Part], vectors: Vectors) -> list[Part]:
    """The fewest parts that hold these, added where the tree allows it."""
    rows = batch_rows(step, plan.spec.batch_size, plan.training_rows)
    found = summation(rows, plan.spec.shards, tuple(part.node for part in parts))
    stack: list[Part] = []
    for operation in found.program:
        if operation == ADD:
            above, below = stack.pop(), stack.pop()
            into = vectors.gradients[below.row]
            np.add(into, vectors.gradients[above.row], into)
            stack.append(Part(below.node, below.row, below.loss + above.loss))
        else:
            stack.append(parts[operation])
    return [Part(node, part.row, part.loss) for node, part in zip(found.sums, stack, strict=True)]


def _keep_alive(ends: zmq.Socket[bytes]) -> None:
    """Has a connection whose other end is gone without a word noticed, and closed."""
    ends.heartbeat_ivl, ends.heartbeat_timeout = HEARTBEAT_EVERY_MS, HEARTBEAT_WITHIN_MS


def _name(members: range) -> bytes:
    """A relay's identity at the hub: an identity of ZeroMQ must not begin with a zero byte."""
    return f"node-{members.start}".encode()
