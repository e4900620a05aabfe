"""One webhook is sent to an address that was checked, waits for nobody for long, and believes little of the answer."""

import datetime
import ssl
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.webhooks.sender import MAX_BODY_BYTES, Sender, default_tls, resolved
from service.webhooks.targets import Rules
from support.receivers import Receiver, status

NAME = "hooks.example.com"
PRIVATE = Rules(private=True)
TLS = default_tls()  # which takes long to make


class Names:
    """A resolver that answers what the test says, in turn, and then goes on with the last."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


def sender(*addresses: str, within_s: float = 10.0) -> Sender:
    return Sender(PRIVATE, Names(addresses or ("127.0.0.1",)), TLS, within_s)


def test_a_body_and_its_headers_arrive_as_they_are(receiver: Receiver) -> None:
    url = f"http://{NAME}:{receiver.port}/a/%C3%A4?b=1"
    answer = sender().post(url, {"webhook-id": "dlv_1"}, b'{"type":"ping"}')
    assert (answer.status, answer.body, answer.problem, answer.is_success) == (200, "ok", None, True)
    assert 0 < answer.duration_s < 10
    came = receiver.next()
    assert (came.path, came.body) == ("/a/%C3%A4?b=1", b'{"type":"ping"}')
    assert came.headers["host"] == f"{NAME}:{receiver.port}"
    assert came.headers["webhook-id"] == "dlv_1"
    assert not came.headers.keys() & {"authorization", "cookie", "accept-encoding"}


# ---------------------------------------------------------------- addresses
def test_a_name_that_leads_to_a_forbidden_address_is_not_connected_to(receiver: Receiver) -> None:
    url = f"http://{NAME}:{receiver.port}/"
    for addresses in (("169.254.169.254",), ("127.0.0.1", "169.254.169.254"), ("8.8.8.8",), ("0.0.0.0",), ()):
        answer = Sender(PRIVATE, Names(addresses), TLS).post(url, {}, b"{}")
        assert answer.status is None
        assert "address that may not be reached" in str(answer.error)
    public_only = Sender(Rules(), Names(["127.0.0.1"]), TLS).post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
    assert public_only.error == f"{NAME} is at an address that may not be reached: expected a public address"
    assert receiver.nothing_came()


def test_a_name_is_resolved_once_so_that_it_cannot_lead_elsewhere_after_the_check(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    both = Sender(PRIVATE, names, TLS)
    assert both.post(f"http://{NAME}:{receiver.port}/", {}, b"{}").status == 200
    assert names.asked == 1
    assert "may not be reached" in str(both.post(f"http://{NAME}:{receiver.port}/", {}, b"{}").error)
    assert names.asked == 2


def test_the_next_address_is_tried_where_one_does_not_answer(receiver: Receiver) -> None:
    assert sender("127.0.0.2", "127.0.0.1").post(f"http://{NAME}:{receiver.port}/", {}, b"{}").status == 200


def test_a_url_that_is_no_longer_allowed_is_not_sent_to(receiver: Receiver) -> None:
    answer = Sender(Rules(), Names(["127.0.0.1"]), TLS).post(receiver.url, {}, b"{}")
    assert str(answer.error).startswith(
        "this service may not send there any more: expected a URL that begins with https:// (http only where"
    )
    assert receiver.nothing_came()


def test_proxies_of_the_environment_are_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sender().post(f"http://{NAME}:{receiver.port}/", {}, b"{}").status == 200


@pytest.mark.parametrize(
    ("code", "to"),
    [(302, "http://169.254.169.254/latest/meta-data"), (307, "/elsewhere"), (308, "https://example.com")],
)
def test_a_redirect_is_not_followed(receiver: Receiver, code: int, to: str) -> None:
    receiver.answers = [status(code, Location=to)]
    answer = sender().post(receiver.url, {}, b"{}")
    assert (answer.status, answer.problem) == (code, f"the receiver answered {code}, expected 200 to 299")
    assert receiver.next().path == "/hook"
    assert receiver.nothing_came()


def test_the_machines_resolver_is_asked_for_names_and_knows_numbers() -> None:
    assert resolved("127.0.0.1", 80) == ["127.0.0.1"]
    assert set(resolved("localhost", 80)) <= {"127.0.0.1", "::1"}
    answer = Sender(Rules(), tls=TLS).post("https://no-such-host.invalid/", {}, b"{}")
    assert str(answer.error).startswith("the host's name could not be resolved: ")


# ---------------------------------------------------------------- answers
def drip(handler: BaseHTTPRequestHandler) -> None:
    """A head, a byte every 50 ms, for 3 s."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 4:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Nothing, until the sender has hung up."""
    handler.rfile.read()


def test_a_receiver_that_sends_a_byte_now_and_then_gains_no_time(receiver: Receiver) -> None:
    receiver.answers = [drip, silence]
    for _ in range(2):
        answer = sender(within_s=0.2).post(receiver.url, {}, b"{}")
        assert (answer.status, answer.error) == (None, "no answer within 0.2 s")
        assert 0.2 <= answer.duration_s < 2


def test_of_a_giant_answer_only_the_beginning_is_read(receiver: Receiver) -> None:
    sent = 0

    def giant(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()
        while not receiver.released.is_set():
            sent += handler.wfile.write(b"a\x00\xff" * 20_000)

    receiver.answers = [giant]
    answer = sender().post(receiver.url, {}, b"{}")
    assert answer.status == 200
    assert answer.body == ("a\ufffd\ufffd" * MAX_BODY_BYTES)[:MAX_BODY_BYTES]
    assert answer.duration_s < 2


def test_a_compressed_answer_is_not_unpacked(receiver: Receiver) -> None:
    receiver.answers = [status(200, b"\x1f\x8b bomb", Content_Encoding="gzip")]
    assert sender().post(receiver.url, {}, b"{}").body == "\ufffd\ufffd bomb"


def test_an_answer_counts_by_its_head_also_when_the_rest_breaks_off(receiver: Receiver) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        handler.close_connection = True

    receiver.answers = [cut]
    answer = sender().post(receiver.url, {}, b"{}")
    assert (answer.status, answer.problem) == (200, None)


def test_what_is_no_http_or_nothing_is_told_in_words(receiver: Receiver) -> None:
    def rubbish(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        handler.close_connection = True

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 100_000)

    receiver.answers = [rubbish, endless]
    for _ in range(2):
        assert str(sender().post(receiver.url, {}, b"{}").error).startswith("what was answered is no HTTP: ")
    receiver.stop()
    assert "refused" in str(sender().post(receiver.url, {}, b"{}").error)


@pytest.mark.parametrize(("value", "seconds"), [("120", 120.0), ("-1", None), ("soon", None), ("9" * 30, None)])
def test_retry_after_is_understood_in_seconds(receiver: Receiver, value: str, seconds: float | None) -> None:
    receiver.answers = [status(503, Retry_After=value)]
    assert sender().post(receiver.url, {}, b"{}").retry_after_s == seconds


# ---------------------------------------------------------------- TLS
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for NAME that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*pem) + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_is_spoken_with_the_name_though_the_address_is_pinned(certificate: Path) -> None:
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    receiver = Receiver(tls=tls)
    trusting = ssl.create_default_context(cafile=str(certificate))
    try:
        for name, is_trusted in ((NAME, True), ("other.example.com", False)):
            to = Sender(PRIVATE, Names(["127.0.0.1"]), trusting)
            answer = to.post(f"https://{name}:{receiver.port}/", {}, b"{}")
            assert (answer.status == 200) == is_trusted, answer
        assert asked == [NAME, "other.example.com"]
        assert receiver.next().headers["host"] == f"{NAME}:{receiver.port}"
        by_default = sender().post(f"https://{NAME}:{receiver.port}/", {}, b"{}")
        assert "CERTIFICATE_VERIFY_FAILED" in str(by_default.error)
        assert receiver.nothing_came()
    finally:
        receiver.stop()
