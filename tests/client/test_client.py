"""The client speaks the REST contract, and repeats only what may be repeated."""

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chainrule import (
    ChainruleError,
    Client,
    Conflict,
    Event,
    FieldProblem,
    Forbidden,
    InvalidFile,
    InvalidInput,
    NotEnded,
    NotFound,
    Refused,
    ServiceError,
    Unavailable,
    Unreachable,
)
from support.fake_service import FakeService, event, log_line, problem, safetensors_file

CSV = b"age,workclass\n39,State-gov\n50,Private\n"
SPEC: dict[str, Any] = {"dataset": "adult", "layers": []}


# ---------------------------------------------------------------- uploads
@pytest.mark.parametrize(
    ("file", "content_type", "encoding"),
    [
        ("adult.csv", "text/csv", None),
        ("adult.CSV.GZ", "text/csv", "gzip"),
        ("adult.parquet", "application/vnd.apache.parquet", None),
        ("adult.npz", "application/x-npz", None),
    ],
)
def test_an_upload_says_what_it_is_by_its_suffix(
    service: FakeService, client: Client, tmp_path: Path, file: str, content_type: str, encoding: str | None
) -> None:
    path = tmp_path / file
    path.write_bytes(gzip.compress(CSV) if encoding else CSV)
    assert client.add_dataset(path).name == "adult"
    sent = service.requests[-1].headers
    assert (sent["Content-Type"], sent.get("Content-Encoding")) == (content_type, encoding)
    assert sent["Content-Length"] == str(path.stat().st_size)
    assert "Transfer-Encoding" not in sent


def test_an_upload_carries_what_overrides_the_inference(service: FakeService, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(CSV)
    client.add_dataset(path, "a name", header=True, missing=["-999"], types={"zip": "category", "day": "text"})
    assert dict(service.requests[-1].url.params) == {
        "name": "a name",
        "header": "true",
        "delimiter": "\t",
        "missing": "-999",
        "types": "zip:category,day:text",
    }


def test_progress_counts_every_byte_of_an_upload(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    path.write_bytes(b"x\n" * 500_000)
    seen: list[tuple[int, int]] = []
    client.add_dataset(path, progress=lambda sent, total: seen.append((sent, total)))
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == (1_000_000, 1_000_000)


def test_a_file_of_another_kind_is_refused_before_anything_is_sent(
    service: FakeService, client: Client, tmp_path: Path
) -> None:
    with pytest.raises(InvalidFile, match=r"got the suffix \.pkl, expected one of \.csv"):
        client.add_dataset(tmp_path / "model.pkl")
    with pytest.raises(InvalidFile, match="no such file"):
        client.add_dataset(tmp_path / "nowhere.csv")
    assert service.requests == []


# ---------------------------------------------------------------- errors and repetition
def test_a_refusal_carries_every_wrong_field(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.submit({"dataset": "nowhere", "layers": [{"units": -3}]})
    assert refused.value.status == 422
    assert refused.value.request_id == "req_1"
    assert refused.value.fields == (
        FieldProblem("layers[0].units", -3, "an integer from 1 to 1,000,000"),
        FieldProblem("dataset", "nowhere", "the id or name of a data set"),
    )
    assert str(refused.value.fields[0]) == "layers[0].units: got -3, expected an integer from 1 to 1,000,000"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Refused) for status in (400, 413, 415, 422)),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        *((status, Unavailable) for status in (429, 500, 503)),
    ],
)
def test_each_status_has_its_error(service: FakeService, client: Client, status: int, kind: type[ServiceError]) -> None:
    service.answers = [problem(status, "Title", "a detail")]
    with pytest.raises(kind) as error:
        client.jobs()
    assert (type(error.value), error.value.status, str(error.value)) == (kind, status, "a detail")


def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same(service: FakeService, client: Client) -> None:
    service.answers = [httpx.Response(502, text="<html>proxy</html>")]
    with pytest.raises(Unavailable, match="Bad Gateway"):
        client.jobs()


def test_an_address_that_leads_elsewhere_is_an_error_that_says_where(
    service: FakeService, client: Client, tmp_path: Path
) -> None:
    asks: dict[str, Callable[[], Any]] = {
        "/v1/datasets/a%2Fb": lambda: client.dataset("a/b"),
        "/v1/jobs": lambda: client.submit(SPEC),
        "/v1/jobs/job_01/model": lambda: client.download_model("job_01", tmp_path / "model"),
        "/readyz": client.ready,
    }
    for path, ask in asks.items():
        service.answers = [httpx.Response(308, headers={"Location": f"https://service{path}"})]
        with pytest.raises(ServiceError, match="the service is at https://service, not at http://service"):
            ask()
    assert not any(tmp_path.iterdir())


def test_an_answer_that_is_no_json_is_an_error_that_says_who_gave_it(service: FakeService, client: Client) -> None:
    service.answers = [httpx.Response(200, html="<html>somebody else</html>") for _ in range(2)]
    expected = "got text/html; charset=utf-8 from http://service/v1/jobs, expected JSON"
    with pytest.raises(ServiceError, match=expected):
        client.jobs()
    with pytest.raises(ServiceError, match=expected):
        client.submit(SPEC)


def test_a_service_that_asks_to_wait_is_asked_again_after_that_time(
    service: FakeService, client: Client, waits: list[float]
) -> None:
    service.datasets["adult"] = {}
    service.answers = [problem(503, "Service Unavailable", "the database is locked", retry_after="2")]
    assert client.submit(SPEC).state == "queued"
    assert waits == [2.0]


def test_a_submit_whose_answer_is_lost_makes_one_job(service: FakeService, client: Client) -> None:
    service.datasets["adult"] = {}
    client.submit(SPEC, idempotency_key="mine")
    service.answers = [httpx.RemoteProtocolError("the server closed the connection")]
    assert client.submit(SPEC, idempotency_key="mine").id == "job_01"
    assert len(service.jobs) == 1
    service.answers = [httpx.ReadError("reset")]
    client.submit(SPEC)
    assert len(service.jobs) == 2
    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert keys[:3] == ["mine"] * 3
    assert keys[3] == keys[4] != "mine"


@pytest.mark.parametrize(
    "answers", [[httpx.ReadTimeout("slow")], [httpx.ReadError("reset"), httpx.ConnectError("refused")]]
)
def test_a_submit_without_an_answer_tells_the_key_that_makes_it_one_job(
    service: FakeService, client: Client, answers: list[httpx.Response | httpx.TransportError]
) -> None:
    service.answers = list(answers)
    with pytest.raises(Unreachable, match="The job may be there") as lost:
        client.submit(SPEC)
    key = service.requests[-1].headers["Idempotency-Key"]
    assert lost.value.idempotency_key == key
    assert key in str(lost.value)


def test_a_submit_that_came_nowhere_tells_no_key(service: FakeService, client: Client) -> None:
    service.answers = [httpx.ConnectError("refused")]
    with pytest.raises(Unreachable) as absent:
        client.submit(SPEC)
    assert absent.value.idempotency_key is None


def test_a_removal_whose_answer_is_lost_is_one_and_that_of_nothing_is_not(
    service: FakeService, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "adult.csv").write_bytes(CSV)
    client.add_dataset(tmp_path / "adult.csv")
    service.add_job(SPEC, "succeeded")

    def losing(request: httpx.Request) -> httpx.Response:
        answer = service.handle(request)
        if request.method == "DELETE" and answer.status_code == 204:
            raise httpx.ReadError("reset")
        return answer

    with Client("http://service", transport=httpx.MockTransport(losing), sleep=lambda _: None) as losing_client:
        losing_client.delete_job("job_01")
        losing_client.delete_dataset("adult")
        assert [request.url.path for request in service.requests[-2:]] == ["/v1/datasets/ds_01"] * 2, "by its id"
        assert (service.jobs, service.datasets) == ({}, {})
        with pytest.raises(NotFound):
            losing_client.delete_job("job_01")


def test_an_upload_is_not_repeated(service: FakeService, client: Client, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    service.answers = [httpx.WriteError("reset")]
    with pytest.raises(Unreachable):
        client.add_dataset(tmp_path / "t.csv")
    assert len(service.requests) == 1


def test_nothing_listening_is_said_at_once_with_the_url() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: a connection is refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url) as client, pytest.raises(Unreachable, match=f"no answer from {url}"):
            client.jobs()


def test_an_id_with_slashes_stays_one_segment_of_the_path(service: FakeService, client: Client) -> None:
    with pytest.raises(NotFound):
        client.job("../datasets/x?y")
    assert service.requests[-1].url.raw_path == b"/v1/jobs/..%2Fdatasets%2Fx%3Fy"


def test_nan_in_a_spec_never_leaves(service: FakeService, client: Client) -> None:
    with pytest.raises(InvalidInput, match="l2: got nan, expected a finite number"):
        client.submit({"l2": float("nan")})
    assert service.requests == []


# ---------------------------------------------------------------- events
RUNNING = event(1, "state", {"state": "running"})
HALF = event(2, "progress", {"fraction": 0.5})
DONE = event(3, "state", {"state": "succeeded"})


def seen(client: Client, **options: Any) -> list[tuple[str, str]]:
    return [(one.id, one.type) for one in client.events("job_01", **options)]


def test_events_come_in_order_until_the_job_ends(service: FakeService, client: Client) -> None:
    service.add_job(SPEC)
    service.streams = [[RUNNING + HALF, DONE]]
    assert list(client.events("job_01")) == [
        Event("state", {"state": "running"}, "1"),
        Event("progress", {"fraction": 0.5}, "2"),
        Event("state", {"state": "succeeded"}, "3"),
    ]


def test_a_broken_stream_resumes_after_the_last_whole_event(service: FakeService, client: Client) -> None:
    service.add_job(SPEC)
    service.streams = [[RUNNING, HALF[:20], httpx.ReadError("reset")], [HALF], [DONE]]
    assert seen(client) == [("1", "state"), ("2", "progress"), ("3", "state")]
    asked = [request.headers.get("Last-Event-ID") for request in service.requests]
    assert asked == [None, "1", "2"]


def test_events_can_be_asked_for_after_one_seen_earlier(service: FakeService, client: Client) -> None:
    service.add_job(SPEC)
    service.streams = [[DONE]]
    assert seen(client, last_event_id="2") == [("3", "state")]
    assert service.requests[0].headers["Last-Event-ID"] == "2"


def test_a_stream_that_has_nothing_more_to_say_of_an_ended_job_ends(service: FakeService, client: Client) -> None:
    service.add_job(SPEC, "succeeded")
    service.streams = [[]]
    assert seen(client, last_event_id="3") == []


def test_a_service_that_restarts_is_waited_for_and_each_try_is_told(
    service: FakeService, client: Client, waits: list[float]
) -> None:
    service.add_job(SPEC)
    service.streams = [[RUNNING, DONE]]
    service.answers = [httpx.ConnectError("refused"), problem(503, "Service Unavailable", "starting")]
    broken: list[ChainruleError] = []
    assert seen(client, on_break=broken.append) == [("1", "state"), ("3", "state")]
    assert [type(error) for error in broken] == [Unreachable, Unavailable]
    assert waits == [0.5, 0.5]


def test_a_service_that_stays_away_is_given_up(service: FakeService, client: Client) -> None:
    service.answers = [httpx.ConnectError("refused"), httpx.ConnectError("refused")]
    with pytest.raises(Unreachable):
        seen(client, patience_s=0.0)


def test_a_log_is_whole_and_goes_on_after_a_line(service: FakeService, client: Client) -> None:
    service.add_job(SPEC)
    service.page = 1
    assert [(line.seq, line.level, line.message) for line in client.logs("job_01")] == [
        (seq, "info", "started on 2 CPUs") for seq in (1, 2, 3)
    ]
    assert [line.seq for line in client.logs("job_01", after=2)] == [3]


def test_a_followed_log_survives_a_broken_connection_and_ends_with_the_job(
    service: FakeService, client: Client
) -> None:
    service.add_job(SPEC)
    service.end = "succeeded"
    first, second = (event(seq, "log", log_line(seq)) for seq in (4, 5))
    service.streams = [[first, second[:9], httpx.ReadError("reset")], [second], []]
    assert [line.seq for line in client.follow_logs("job_01", after=3)] == [4, 5]
    asked = [request for request in service.requests if request.url.path.endswith("/logs/stream")]
    assert [request.headers["Last-Event-ID"] for request in asked] == ["3", "4", "5"]


def test_the_events_of_no_job_are_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="job_01"):
        seen(client)


# ---------------------------------------------------------------- waiting
def test_wait_returns_the_job_as_it_ended(service: FakeService, client: Client, waits: list[float]) -> None:
    running = service.add_job(SPEC, "running")
    service.answers = [
        httpx.Response(200, json=running),
        httpx.ConnectError("refused"),
        httpx.Response(200, json=running),
    ]
    service.jobs["job_01"] = {**running, "state": "succeeded"}
    assert client.wait("job_01").state == "succeeded"
    assert waits == sorted(waits)
    assert len(waits) == 3


def test_wait_gives_up_after_its_timeout(service: FakeService, client: Client) -> None:
    service.add_job(SPEC, "running")
    with pytest.raises(NotEnded, match="job_01 has not ended within 0 s"):
        client.wait("job_01", timeout_s=0)


def test_metrics_and_history_are_whole_however_many_pages_they_come_in(service: FakeService, client: Client) -> None:
    service.add_job(SPEC)
    service.page = 5
    assert [one["epoch"] for one in client.metrics("job_01")] == list(range(1, 13))
    assert len(service.requests) == 3
    assert client.history("job_01")[0].to == "running"


# ---------------------------------------------------------------- models
def test_many_rows_are_predicted_in_requests_of_bounded_size_and_in_order(service: FakeService, client: Client) -> None:
    service.add_job(SPEC, "succeeded")
    rows: list[dict[str, Any]] = [{"age": age % 80, "note": "x" * 40_000} for age in range(400)]
    predictions = client.predict("job_01", iter(rows))
    assert [one.value for one in predictions] == [">50K" if row["age"] > 40 else "<=50K" for row in rows]
    assert all(len(request.content) <= 2**23 + 100 for request in service.requests)
    assert [len(json.loads(request.content)["rows"]) for request in service.requests] == [100, 209, 91]


@pytest.mark.parametrize(
    ("numbers", "name", "sizes"),
    [
        (1, "a", [100, 1_000, 1_000, 400]),
        (1_250, "a", [100, 800, 800, 800]),
        (10_000, "a", [100] * 25),
        (127, "a" * 1024, [100, 512, 512, 400]),
        (10_000, "a" * 335, [100, 1, 20, 20, 20, 20, 19, 20, 20]),
        (2, "a" * (32 << 20), [3, 1, 1, 1]),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_as_many_rows_are_predicted_at_once_as_the_model_tells_numbers_and_names_of(
    numbers: int, name: str, sizes: list[int]
) -> None:
    asked: list[int] = []
    told = {name[: -len(str(number))] + str(number): 0.0 for number in range(numbers)}
    most = (64 << 20) // (sum(map(len, told)) + max(map(len, told)))
    refused = {"errors": [{"field": "rows", "got": "many rows", "expected": f"at most {most}"}]}

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(len(json.loads(request.content)["rows"]))
        if asked[-1] > max(1, most):
            return problem(422, "Unprocessable Content", "rows: too many", **refused)
        return httpx.Response(200, json={"predictions": [{"value": 0}] * (asked[-1] - 1) + [{"value": told}]})

    rows = sum(sizes) - (sizes[0] if sizes[1] == 1 else 0)
    with Client("http://service", "key", transport=httpx.MockTransport(handle)) as client:
        assert len(client.predict("job_01", [{"x": 1}] * rows)) == rows
    assert asked == sizes


def test_a_wrong_row_is_named_by_its_place_among_all_rows(service: FakeService, client: Client) -> None:
    service.add_job(SPEC, "succeeded")
    with pytest.raises(Refused) as refused:
        client.predict("job_01", [{"age": 1}] * 1_200 + [{"age": -1}])
    assert [one.field for one in refused.value.fields] == ["rows[1200].age"]


def test_a_model_is_downloaded_whole_with_its_metadata(service: FakeService, client: Client, tmp_path: Path) -> None:
    service.add_job(SPEC, "succeeded")
    path = client.download_model("job_01", tmp_path / "model.safetensors")
    head = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert client.model_metadata("job_01") == head["__metadata__"]
    assert head["__metadata__"]["format"] == "chainrule-model-1"


def half() -> Iterator[bytes]:
    yield b"half"
    raise httpx.ReadError("reset")


READERS: dict[str, Callable[[Client, Path], Any]] = {
    "download_model": lambda client, path: client.download_model("job_01", path).read_bytes(),
    "model": lambda client, path: client.model("job_01").weights[0].tolist(),
    "model_metadata": lambda client, path: client.model_metadata("job_01"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_model_whose_line_breaks_is_asked_for_from_its_beginning_again(
    service: FakeService, client: Client, waits: list[float], tmp_path: Path, reader: str
) -> None:
    service.add_job(SPEC, "succeeded")
    read, path = READERS[reader], tmp_path / "model.safetensors"
    wanted = read(client, path)
    service.answers = [
        httpx.Response(200, headers={"Content-Length": "400"}, content=half()),
        httpx.RemoteProtocolError("the server closed the connection"),
        problem(503, "Service Unavailable", "starting", retry_after="2"),
    ]
    assert read(client, path) == wanted
    assert waits == [0.1, 0.2, 2.0]
    assert set(tmp_path.iterdir()) <= {path}


def test_a_download_that_breaks_again_and_again_leaves_the_old_file_and_nothing_else(
    service: FakeService, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    service.answers = [httpx.Response(200, content=half()) for _ in range(4)]
    with pytest.raises(Unreachable):
        client.download_model("job_01", path)
    assert (service.answers, path.read_bytes(), list(tmp_path.iterdir())) == ([], b"old", [path])


def test_a_model_that_a_server_cuts_off_is_asked_for_again(tmp_path: Path) -> None:
    """A real connection that ends after half of the bytes that were promised."""
    whole = safetensors_file({"format": "chainrule-model-1"})
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(whole)}\r\nConnection: close\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for body in (whole[:20], whole):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(head + body)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        with Client(f"http://127.0.0.1:{listening.getsockname()[1]}", "key") as client:
            assert client.download_model("job_01", tmp_path / "model").read_bytes() == whole
        serving.join()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, (50).to_bytes(8, "little") + b"{"])
def test_an_answer_that_is_no_safetensors_file_is_said(service: FakeService, client: Client, content: bytes) -> None:
    service.answers = [httpx.Response(200, content=content)]
    with pytest.raises(ChainruleError, match="not a safetensors file"):
        client.model_metadata("job_01")


# ---------------------------------------------------------------- the service
def test_ready_is_a_yes_or_a_no(service: FakeService, client: Client) -> None:
    assert client.ready()
    service.answers = [problem(503, "Service Unavailable", "Ray is starting")]
    assert not client.ready()


@pytest.mark.parametrize(("url", "checks"), [("http://127.0.0.1:8400", False), ("https://service", True)])
def test_certificates_are_loaded_and_checked_where_there_are_any(url: str, checks: bool) -> None:
    with Client(url) as client:
        tls = client._http._transport._pool._ssl_context  # type: ignore[attr-defined]
        assert (tls.verify_mode == ssl.CERT_REQUIRED, tls.check_hostname) == (checks, checks)
        assert (tls.cert_store_stats()["x509_ca"] > 0) == checks
