"""Clients that send too much of a head, or too slowly, are let go; those that only take their time are not."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import Any

import h11
import httpx
import pytest
import uvicorn

from service.connection import (
    MAX_HEADERS_BYTES,
    MAX_TARGET_BYTES,
    MUCH_BYTES,
    OUR_TURN,
    Connection,
    Joined,
    Patience,
    Requests,
)
from support.problems import errors_of
from support.service_in_process import WITHIN_S, Service

SOON = Patience(head_within_s=0.4, body_window_s=0.4, bytes_per_s=1_000, stalled_s=0.5, looks_every_s=0.05)
EVENTS = 15  # over twice as long as any patience
NUMBERS = 2_000  # 8 KiB of each, more than any buffers hold
FULL = threading.Event()  # set as soon as they do


class HastyConnection(Connection):
    patience = SOON


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Counts the body's bytes, /later after a while; /events sends a little at a time, /much more than buffers hold,
    and so does /numbers, past the application where it can."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/later":
        await asyncio.sleep(3 * SOON.body_window_s)
    message, size = {"more_body": True}, 0
    while message.get("more_body"):
        message = await receive()
        size += len(message.get("body", b""))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/events":
        for _ in range(EVENTS):
            await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
    if scope["path"] == "/much":
        for _ in range(1_000):
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    if scope["path"] == "/numbers":
        connection, sent_at_once = scope["state"]["connection"](), []
        for number in range(NUMBERS):
            body = b"%08d" % number * (1 << 10)
            sent_at_once.append(connection.send_chunk(connection.cycle, body))
            if not sent_at_once[-1]:
                FULL.set()  # the client takes nothing before
                await send({"type": "http.response.body", "body": body, "more_body": True})
        assert sent_at_once[0]
    await send({"type": "http.response.body", "body": b"%d" % size})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Of a server with little patience."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=HastyConnection, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(WITHIN_S)


def answer_to(address: tuple[str, int], *pieces: bytes, every_s: float = 0.05, again: int = 1) -> tuple[bytes, float]:
    """All that comes back for pieces that are sent one after the other, the last of them again and again, and the
    seconds until the connection was closed."""
    began = time.monotonic()
    found = b""
    with socket.create_connection(address, timeout=WITHIN_S) as client:
        for piece in (*pieces, *pieces[-1:] * (again - 1)):
            try:
                client.sendall(piece)
            except OSError:  # it was let go
                break
            client.settimeout(every_s)
            try:
                found += (got := client.recv(1 << 16))
                if not got:
                    break
            except TimeoutError:
                pass
            client.settimeout(WITHIN_S)
        try:
            while got := client.recv(1 << 16):
                found += got
        except ConnectionResetError:
            pass
    return found, time.monotonic() - began


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"


# ---------------------------------------------------------------- slow clients
@pytest.mark.parametrize(
    ("waits_for", "seconds", "received", "expected"),
    [
        (h11.IDLE, 9.9, 0, False),
        (h11.IDLE, 10.0, 15_000, True),
        (h11.SEND_BODY, 14.9, 0, False),
        (h11.SEND_BODY, 15.0, 14_999, True),
        (h11.SEND_BODY, 15.0, 15_000, False),
    ],
)
def test_patience_ends_after_10_s_for_a_head_and_below_1_kb_a_second_for_a_body(
    waits_for: Any, seconds: float, received: int, expected: bool
) -> None:
    assert Patience().has_ended(waits_for, seconds, received) is expected


def test_whoever_is_slow_from_the_beginning_is_let_go_within_20_s() -> None:
    patience = Patience()
    late_s = (OUR_TURN + 1) * patience.looks_every_s  # until it is seen that an answer has ended
    assert patience.head_within_s + late_s < 20
    assert patience.body_window_s + late_s < 20


def test_a_silent_socket_is_closed_without_a_word(address: tuple[str, int]) -> None:
    assert answer_to(address)[0] == b""


def test_a_head_that_comes_byte_by_byte_is_told_that_it_is_slow(address: tuple[str, int]) -> None:
    found, took_s = answer_to(address, b"GET / HTTP/1.1\r\nX: ", b"x", again=1_000)
    assert found.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"status": 408' in found
    assert took_s < WITHIN_S


def test_a_body_that_comes_byte_by_byte_is_told_that_it_is_slow(address: tuple[str, int]) -> None:
    found, _ = answer_to(address, HEAD + b"\r\n", b"x", again=1_000)
    assert found.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_body_that_stops_after_a_fast_beginning_is_told_that_it_is_slow(address: tuple[str, int]) -> None:
    found, _ = answer_to(address, HEAD + b"\r\n" + bytes(90_000), b"")
    assert found.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_the_second_request_of_a_connection_has_no_more_time_than_the_first(address: tuple[str, int]) -> None:
    found, _ = answer_to(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET", b"")
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1 408 Request Timeout\r\n" in found


def test_a_body_that_comes_slowly_but_steadily_is_taken(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10000\r\n\r\n"
    found, took_s = answer_to(address, head, bytes(500), every_s=0.08, again=20)
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"10000" in found
    assert took_s > SOON.head_within_s + SOON.body_window_s


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_that_waits_for_the_service_is_not_slow(address: tuple[str, int], expect: bytes) -> None:
    head = b"POST /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n"
    pieces = (head + b"\r\n" + bytes(1_000_000),) if not expect else (head + expect + b"\r\n", bytes(1_000_000))
    found, _ = answer_to(address, *pieces, every_s=4 * SOON.body_window_s)
    assert b"HTTP/1.1 200 OK\r\n" in found
    assert b"1000000" in found


def test_many_requests_over_one_connection_have_their_time_each(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}", trust_env=False, timeout=WITHIN_S) as client:
        began = time.monotonic()
        while time.monotonic() - began < 3 * SOON.head_within_s:
            assert client.get("/").status_code == 200


def test_an_answer_may_last_longer_than_any_patience(address: tuple[str, int]) -> None:
    answer = httpx.get(f"http://127.0.0.1:{address[1]}/events", trust_env=False, timeout=WITHIN_S)
    assert answer.content == b"x" * EVENTS + b"0"


def test_whoever_takes_nothing_of_an_answer_is_let_go(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=WITHIN_S) as client:
        client.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(2 * SOON.stalled_s + WITHIN_S)
        time.sleep(4 * SOON.stalled_s)  # nothing is to be taken meanwhile, so nothing can tell
        taken = 0
        try:
            while got := client.recv(1 << 20):
                taken += len(got)
        except ConnectionResetError:
            pass
    assert taken < 1_000 << 16


def test_whoever_takes_an_answer_slowly_gets_all_of_it(address: tuple[str, int]) -> None:
    taken = 0
    with socket.create_connection(address, timeout=WITHIN_S) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while got := client.recv(1 << 20):
            taken += len(got)
            if taken < 40 << 20:  # for far longer than the patience with who takes nothing
                time.sleep(0.01)
    assert taken > 1_000 << 16


def test_what_is_sent_past_the_application_stays_in_order_however_slowly_it_is_taken(address: tuple[str, int]) -> None:
    answer = b""
    with socket.create_connection(address, timeout=WITHIN_S) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(b"GET /numbers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert FULL.wait(WITHIN_S)
        while got := client.recv(1 << 20):
            answer += got
    parsed = h11.Connection(h11.CLIENT)
    parsed.send(h11.Request(method="GET", target="/numbers", headers=[("Host", "x")]))
    parsed.send(h11.EndOfMessage())
    parsed.receive_data(answer)
    parsed.receive_data(b"")  # there is no more of it
    body = b""
    while not isinstance(event := parsed.next_event(), h11.EndOfMessage):
        body += event.data if isinstance(event, h11.Data) else b""
    assert body == b"".join(b"%08d" % number * (1 << 10) for number in range(NUMBERS)) + b"0"


def test_nothing_is_sent_past_the_application_but_of_the_answer_that_is_under_way() -> None:
    written: list[bytes] = []

    class Open:
        """A transport that takes all."""

        def __init__(self) -> None:
            self.write = written.append

        def is_closing(self) -> bool:
            return False

        def get_write_buffer_size(self) -> int:
            return 0

    class Answer:
        """uvicorn's side of a request."""

        response_started = response_complete = disconnected = False

    async def tell() -> None:
        connection: Any = object.__new__(Connection)
        connection.conn, connection.cycle = Requests(), Answer()
        connection.conn.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.conn.next_event()
        connection.transport = Joined(Open(), asyncio.get_running_loop())  # type: ignore[arg-type]
        ours, other = connection.cycle, Answer()
        assert not connection.send_chunk(ours, b"has not begun")
        ours.response_started = other.response_started = True
        assert not connection.send_chunk(other, b"of another request")
        assert connection.send_chunk(ours, b"news")
        assert connection.send_chunk(ours, b""), "which would end it"
        ours.disconnected = True
        assert not connection.send_chunk(ours, b"nobody is there")
        ours.disconnected, ours.response_complete = False, True
        assert not connection.send_chunk(ours, b"is over")

    asyncio.run(tell())
    assert written == [b"4\r\nnews\r\n"]


def test_a_byte_every_two_seconds_does_not_keep_a_connection_open_for_20_s(unchanged: Service) -> None:
    """In real time, as all of them at once take no longer than one."""
    url = unchanged.http.base_url
    slow = {"silent": (), "head": (b"G",), "body": (HEAD + b"\r\n", b"x")}
    with ThreadPoolExecutor() as threads:
        found = {
            name: threads.submit(answer_to, (url.host, url.port or 80), *pieces, every_s=2.0, again=20)
            for name, pieces in slow.items()
        }
        took_s = {name: waiting.result()[1] for name, waiting in found.items()}
    assert {name: seconds for name, seconds in took_s.items() if seconds >= 20} == {}


def test_a_thousand_idle_sockets_do_not_hold_up_others(service: Service) -> None:
    """In most of a few rounds not one of 30 answers takes 100 ms: what else runs on the machine may hold up any."""
    url = service.http.base_url

    def longest_s() -> float:
        took_s = []
        for _ in range(30):
            began = time.perf_counter()
            assert service.http.get("/healthz").status_code == 200
            took_s.append(time.perf_counter() - began)
        return max(took_s)

    with ExitStack() as idle:
        for _ in range(1_000):
            idle.enter_context(socket.create_connection((url.host, url.port or 80), timeout=WITHIN_S))
        rounds = [longest_s() for _ in range(5)]
    assert median(rounds) < 0.1, rounds


def test_a_short_answer_comes_in_one_piece_and_a_long_one_is_not_gathered_first() -> None:
    class Sent:
        """A transport that keeps what it is given."""

        def __init__(self) -> None:
            self.pieces: list[bytes] = []
            self.write = self.pieces.append

        def is_closing(self) -> bool:
            return False

    async def write() -> list[bytes]:
        sent = Sent()
        joined = Joined(sent, asyncio.get_running_loop())  # type: ignore[arg-type]
        joined.write(b"head ")
        joined.write(b"body")
        assert sent.pieces == []
        await asyncio.sleep(0)
        joined.write(b"head")
        joined.write(bytes(MUCH_BYTES))
        assert [len(piece) for piece in sent.pieces] == [9, 4 + MUCH_BYTES]
        return sent.pieces

    assert asyncio.run(write())[0] == b"head body"


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_head(unchanged: Service) -> None:
    took_s = []
    for _ in range(30):
        began = time.perf_counter()
        unchanged.http.get("/healthz")
        took_s.append(time.perf_counter() - began)
    assert min(took_s) < 0.035  # Linux delays an acknowledgement by 40 ms


# ---------------------------------------------------------------- too much of a head
def raw(service: Service, *pieces: bytes) -> httpx.Response:
    """The answer to bytes, as a response."""
    url = service.http.base_url
    found, _ = answer_to((url.host, url.port or 80), *pieces)
    head, _, body = found.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(1, 400), (200, 100)])
def test_headers_of_more_than_16_kib_are_refused(unchanged: Service, sizes: tuple[int, int]) -> None:
    count, size = sizes
    headers = [
        (f"x-{number}", "x" * (size * MAX_HEADERS_BYTES // 400 if count == 1 else size)) for number in range(count)
    ]
    assert errors_of(unchanged.http.get("/healthz", headers=headers), 431) == []


def test_headers_that_never_end_are_refused(unchanged: Service) -> None:
    answer = raw(unchanged, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"x" * (MAX_HEADERS_BYTES + MAX_TARGET_BYTES))
    assert errors_of(answer, 431) == []


def test_an_address_of_more_than_8_kib_is_refused(unchanged: Service) -> None:
    assert unchanged.http.get("/healthz?" + "x" * (MAX_TARGET_BYTES - 100)).status_code == 422
    assert errors_of(unchanged.http.get("/" + "x" * MAX_TARGET_BYTES), 414) == []


def test_an_address_that_never_ends_is_refused(unchanged: Service) -> None:
    assert errors_of(raw(unchanged, b"GET /", b"x" * (MAX_HEADERS_BYTES + MAX_TARGET_BYTES)), 414) == []


@pytest.mark.parametrize(
    "head",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n bad\0: y\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n",
    ],
    ids=["rubbish", "no Host", "NUL", "TLS"],
)
def test_what_is_no_request_is_refused(unchanged: Service, head: bytes) -> None:
    assert errors_of(raw(unchanged, head), 400) == []


def test_a_service_ends_while_it_refuses_somebody(service: Service) -> None:
    url = service.http.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=WITHIN_S) as client:
        client.sendall(b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(20).startswith(b"HTTP/1.1 414")
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < WITHIN_S / 2
