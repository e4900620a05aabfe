"""One HTTP connection: uvicorn's, with an end to the patience with clients that send too much of a head, or too slowly,
and with a short way out for streams, of which there may be thousands.

uvicorn waits for a request as long as it takes. No middleware can change that, for there is none before the head is
whole. What is refused here is answered with a problem document where nothing has been answered yet.
"""

import asyncio
import json
import socket
import weakref
from typing import Any, NamedTuple

import h11
from ulid import ULID
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.problems import MEDIA_TYPE, problem_document, title_of

__all__ = ["OUR_TURN", "Connection", "Patience"]

MAX_TARGET_BYTES = 8 << 10
MAX_HEADERS_BYTES = 16 << 10
MUCH_BYTES = 64 << 10  # of an answer, that are not held back to be sent together
OUR_TURN = 3  # times as long as otherwise until it is looked at again whose turn it is
LINGERS_S = 1.0  # after a refusal, so that it arrives before the connection is reset for what was not read


class Patience(NamedTuple):
    """How long a client may take."""

    head_within_s: float = 10.0
    """For all of a request's head, from the connection or the answer before it on."""
    body_window_s: float = 15.0
    """Over such a time, a body comes …"""
    bytes_per_s: float = 1_000.0
    """… at least that fast."""
    stalled_s: float = 60.0
    """For an answer of which nothing is taken."""
    looks_every_s: float = 1.0

    def has_ended(self, waits_for: Any, seconds: float, received: int) -> bool:
        """Whether a client that has sent so much in so many seconds is too slow. `waits_for`: h11's state of it."""
        if waits_for is h11.IDLE:
            return seconds >= self.head_within_s
        return seconds >= self.body_window_s and received < self.bytes_per_s * seconds


class Requests(h11.Connection):
    """The requests of a connection, whose heads have limits."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_TARGET_BYTES + MAX_HEADERS_BYTES)
        self.refusal = 400, "this is no HTTP request"
        """Status and words for the request that was refused."""

    def next_event(self) -> Any:
        """h11's next event. Raises RemoteProtocolError, and leaves `refusal`."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431 and b"\n" not in self.trailing_data[0]:
                raise self._refused(414) from None
            raise self._refused(error.error_status_hint, str(error)) from None
        if isinstance(event, h11.Request):
            if len(event.target) > MAX_TARGET_BYTES:
                raise self._refused(414)
            if sum(len(name) + len(value) + len(": \r\n") for name, value in event.headers) > MAX_HEADERS_BYTES:
                raise self._refused(431)
        return event

    def _refused(self, status: int, why: str = "") -> h11.RemoteProtocolError:
        detail = {
            414: f"got a longer address, expected at most {MAX_TARGET_BYTES:,} bytes",
            431: f"got more headers, expected at most {MAX_HEADERS_BYTES:,} bytes of them",
        }.get(status, f"this is no HTTP request: {why}")
        self.refusal = status, detail
        return h11.RemoteProtocolError(detail, error_status_hint=status)


class Joined:
    """A transport that sends at once what is written in one turn of the event loop: uvicorn writes an answer's head and
    its body one by one, and each sending takes a call of the system and a turn of this process's lock."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends it soon; at once where much is written, for uvicorn to see when it is to wait."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size >= MUCH_BYTES:
            self._flush()

    def write_at_once(self, data: bytes) -> bool:
        """Sends it after all that was written; False, and nothing is done with it, where the client takes no more."""
        self._flush()
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            return False
        self._transport.write(data)
        return True

    def write_eof(self) -> None:
        """Sends what was written, and that there will be no more."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Closes it when all that was written is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))


class Connection(H11Protocol):
    """uvicorn's connection, watched over once a second, more seldom while it is our turn: whose turn it is, since when,
    and what came."""

    patience = Patience()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: Requests = Requests()
        self._turn: tuple[Any, Any] = None, None
        self._since = self._moved = 0.0
        self._received = 0
        self._is_refused = False
        self._timer: asyncio.TimerHandle | None = None
        # For the application, as `scope["state"]`. It is not to keep alive what is closed.
        self.app_state = {**self.app_state, "connection": weakref.ref(self)}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        # asyncio does so only for a socket that was made with the protocol's number. Without, an answer's body waits
        # until the client has acknowledged its head, which clients delay by 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if not self._is_refused:
            super().data_received(data)

    def send_chunk(self, cycle: RequestResponseCycle, data: bytes) -> bool:
        """Sends what comes next of the answer to a request, one without a length: what uvicorn makes of it when it
        comes through all layers of the application, for a quarter of the CPU. False, and nothing is sent, where it is
        to go that way: the answer has not begun or is over, the client takes no more now, is gone, or knows no
        chunks."""
        is_open = cycle is self.cycle and cycle.response_started and not cycle.response_complete
        if not is_open or cycle.disconnected or self.conn.their_http_version != b"1.1":
            return False
        joined: Any = self.transport  # as `connection_made` has it
        # An empty chunk would end the answer.
        return not data or bool(joined.write_at_once(b"%x\r\n%b\r\n" % (len(data), data)))

    def resume_writing(self) -> None:
        self._moved = self.loop.time()  # something was taken, though there may be too much again before anybody looks
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's way out of a request that cannot be read."""
        self._refuse(*self.conn.refusal)

    def shutdown(self) -> None:
        if self._is_refused:
            self.transport.close()  # uvicorn would go by h11, past which the refusal went
        else:
            super().shutdown()

    def _look(self) -> None:
        """Closes the connection, or looks again a little later."""
        now, waits_for = self.loop.time(), self.conn.their_state
        turn = waits_for, self.cycle  # each request has a cycle of its own
        if not self.flow.write_paused:
            self._moved = now
        elif now - self._moved >= self.patience.stalled_s:
            self.transport.abort()
            return
        if turn != self._turn or not self._is_clients_turn():
            self._turn, self._since, self._received = turn, now, 0
        elif self.patience.has_ended(waits_for, now - self._since, self._received):
            self._close_slow()
            return
        elif waits_for is h11.SEND_BODY and now - self._since >= self.patience.body_window_s:
            self._since, self._received = now, 0
        # While it is our turn there is nothing to be seen but a stall, which takes a minute, and streams are many.
        rests_s = self.patience.looks_every_s * (1 if self._is_clients_turn() else OUR_TURN)
        self._timer = self.loop.call_later(rests_s, self._look)

    def _is_clients_turn(self) -> bool:
        """Whether it is for the client to send: else nothing comes because it waits for us."""
        held_back = self.flow.read_paused or self.conn.they_are_waiting_for_100_continue
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not held_back

    def _close_slow(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # it said nothing, so there is nothing to answer
            return
        head = f"a request's head within {self.patience.head_within_s:g} s"
        expected = f"{head}, and its body at {self.patience.bytes_per_s:g} bytes/s at least"
        self._refuse(408, f"the request came too slowly; expected {expected}")

    def _refuse(self, status: int, detail: str) -> None:
        """Closes the connection; with an answer, unless one has begun."""
        self._is_refused = True
        if self._timer is not None:
            self._timer.cancel()
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True  # what the application still says is for nobody
            self.cycle.message_event.set()
        request_id = f"req_{ULID()}"
        body = json.dumps(problem_document(status, detail, request_id)).encode()
        head = (
            f"HTTP/1.1 {status} {title_of(status)}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGERS_S, self.transport.close)
