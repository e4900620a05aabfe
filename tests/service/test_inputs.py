"""Bad input over REST: what docs/inputs.md promises and no other test of this folder shows."""

import ast
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from examples.postgresql import PostgreSQL
from support.problems import errors_of
from support.service_in_process import SPEC, WITHIN_S, Service, Start

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json"}


# ---------------------------------------------------------------- the pages
@pytest.mark.parametrize(("page", "at_least"), [("inputs.md", 40), ("security.md", 25)])
def test_every_test_that_a_page_names_is_there(page: str, at_least: int) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert len(named) > at_least
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


# ---------------------------------------------------------------- JSON
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", '"nan"', "true", '"7"', "null", "[1]"])
def test_what_is_no_number_is_named_where_a_number_stands(unchanged: Service, number: str) -> None:
    body = (
        json.dumps({**SPEC, "l1": 0, "epochs": 0})
        .replace('"l1": 0', f'"l1": {number}')
        .replace('"epochs": 0', f'"epochs": {number}')
    )
    answer = unchanged.http.post("/v1/jobs", content=body, headers=JSON)
    assert {field for field, _ in errors_of(answer)} == {"l1", "epochs"}


@pytest.mark.parametrize(
    "body",
    [
        '{"dataset": "numbers", "target": "y", "name": "\udcff"}'.encode(errors="surrogateescape"),
        b'{"dataset": "numbers", "target": "y", "labels": {"a": "1", "a": "2"}}',
        b'{"dataset": "numbers", "target": "y", "layers": ' + b"[" * 33 + b"]" * 33 + b"}",
        b'{"dataset": "numbers", "target": "y"',
        b'\xef\xbb\xbf{"dataset": "numbers", "target": "y"}',
    ],
    ids=["not UTF-8", "a key twice, deep down", "33 deep", "cut off", "a byte order mark"],
)
def test_what_is_not_plain_json_is_a_400_and_leaves_nothing(unchanged: Service, body: bytes) -> None:
    errors_of(unchanged.http.post("/v1/jobs", content=body, headers=JSON), 400)
    assert unchanged.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epochs": 10**9}, "epochs"),
        ({"workers": 10**6}, "workers"),
        ({"workers": {"max": 10**6}}, "workers.max"),
        ({"layers": [{"type": "dense", "units": 100_000}] * 2}, "layers[1].units"),
        ({"layers": [{"type": "dense", "units": 10}] * 101}, "layers"),
        ({"max_runtime_s": 1e10}, "max_runtime_s"),
    ],
)
def test_what_nothing_could_compute_is_refused_before_anything_is_taken_for_it(
    unchanged: Service, change: dict[str, Any], field: str
) -> None:
    for query in ({}, {"dry_run": "true"}):
        answer = unchanged.http.post("/v1/jobs", params=query, json={**SPEC, **change})
        assert [name for name, _ in errors_of(answer)] == [field]
    assert unchanged.http.get("/v1/jobs").json()["items"] == []


def test_text_is_stored_as_it_is(service: Service) -> None:
    for name in ("<img src=x onerror=alert(1)>", "'; DROP TABLE jobs; --", "..\\..\\x", "%2e%2e%2f", "ä😀"):
        job_id = service.submit(name=name, labels={"label": name})["id"]
        answer = service.http.get(f"/v1/jobs/{job_id}")
        assert (answer.json()["name"], answer.json()["labels"]["label"]) == (name, name)
        assert answer.headers["content-type"] == "application/json"
        service.act(job_id, "cancel")


def test_a_nul_in_any_part_of_an_address_is_refused(start: Start, request: pytest.FixtureRequest) -> None:
    """PostgreSQL, which takes none in a text, must not be asked for one."""
    postgresql: PostgreSQL = request.getfixturevalue("postgresql")
    service = start(database_url=postgresql.new_database(like=request.getfixturevalue("migrated_url")))
    tried = 0
    for path, operations in service.http.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            places = {(each["in"], each["name"]): each for each in operation.get("parameters", [])}
            for where, name in places:
                if where == "header":  # HTTP has no NUL there
                    continue
                address = path
                for (_, other), parameter in places.items():
                    there = "a%00b" if other == name else str(parameter.get("examples", [""])[0])
                    address = address.replace(f"{{{other}}}", there)
                query = {name: "a\0b"} if where == "query" else {}
                body = {"json": {}} if "requestBody" in operation else {}
                answer = service.http.request(method, address, params=query, **body)
                assert answer.status_code in (404, 409, 415, 422), (method, address, query, answer.text)
                tried += 1
    assert tried > 60


# ---------------------------------------------------------------- uploads
@pytest.mark.parametrize(
    "media_type",
    [
        "application/x-pickle",
        "application/octet-stream",
        "application/x-hdf5",
        "application/onnx",
        "model/pt",
        "",
        "text",
    ],
)
def test_models_and_pickles_are_no_data_sets(unchanged: Service, media_type: str) -> None:
    before = unchanged.left()
    headers = {"Content-Type": media_type}
    answer = unchanged.http.post("/v1/datasets", params={"name": "x"}, headers=headers, content=b"\x80\x04.")
    assert errors_of(answer, 415) == []
    assert unchanged.left() == before


def sent(service: Service, *pieces: bytes) -> bytes:
    """What comes back for bytes after which the client says that it has no more."""
    found = b""
    url = service.http.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=WITHIN_S) as client:
        for piece in pieces:
            client.sendall(piece)
        client.settimeout(WITHIN_S)
        while b"\r\n\r\n" not in found and (got := client.recv(1 << 16)):
            found += got
    return found


def upload_head(service: Service, length: bytes) -> bytes:
    """The head of an upload that says how long it is."""
    headers = f"Host: localhost\r\nAuthorization: Bearer {service.key}\r\nContent-Type: text/csv\r\n"
    return b"POST /v1/datasets?name=x HTTP/1.1\r\n" + headers.encode() + b"Content-Length: " + length + b"\r\n\r\n"


@pytest.mark.parametrize("length", [b"2147483649", b"9" * 18])
def test_an_upload_that_says_it_is_too_long_is_refused_before_it_comes(unchanged: Service, length: bytes) -> None:
    assert sent(unchanged, upload_head(unchanged, length)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", [b"-1", b"1, 2", b"0x10", b"ten", b"9\r\nContent-Length: 8"])
def test_a_length_that_is_none_is_refused(unchanged: Service, length: bytes) -> None:
    assert sent(unchanged, upload_head(unchanged, length) + b"a,b\n1,2\n").startswith(b"HTTP/1.1 400 ")


def test_bytes_after_an_upload_are_not_part_of_it(service: Service) -> None:
    body = b"a,b\n1,2\n"
    head = upload_head(service, str(len(body)).encode())
    assert sent(service, head + body + b"3,4\n").startswith(b"HTTP/1.1 201 ")
    assert service.http.get("/v1/datasets/x").json()["size_bytes"] == len(body)


# ---------------------------------------------------------------- odd tables
@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        ("a,y\n1,x\n2,x\n", False),
        ("a,y\n1,?\n2,?\n", False),
        ("a,y\n?,1\n?,2\n", False),
        ("a,b,y\n?,1,1\n?,2,2\n", True),
        ("a,y\n1,2\n", True),
        ("a,y\n1,1\n2,2\n3,?\n", False),
        ("a,y\n1,p\n2,q\n", True),
        ("a,y\n0,0\n0,0\n", True),
        ("a,y\n1e308,1\n-1e308,2\n", False),
        ("a,y\n1,1e308\n2,-1e308\n", False),
    ],
    ids=[
        "a single class",
        "no value of the target",
        "no value of the only feature",
        "no value of one feature",
        "fewer rows than a batch",
        "a row without its target",
        "one row of each class",
        "all alike",
        "features that overflow",
        "targets that overflow",
    ],
)
def test_an_odd_table_is_refused_or_trained_on(training_service: Service, content: str, accepted: bool) -> None:
    training_service.upload("odd", content.encode())
    answer = training_service.http.post("/v1/jobs", json={**SPEC, "dataset": "odd", "batch_size": 256})
    if answer.status_code == 422:
        errors_of(answer)
        assert not accepted
    else:
        job = training_service.until(answer.json()["id"], "succeeded" if accepted else "failed")
        assert accepted or job["error"]


# ---------------------------------------------------------------- ranges
def test_several_ranges_of_a_model_are_ignored_and_one_is_not(training_service: Service) -> None:
    job_id = training_service.submit()["id"]
    training_service.until(job_id, "succeeded")
    path = f"/v1/jobs/{job_id}/model"
    whole = training_service.http.get(path).content
    for count in (2, 1_500):
        several = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(count))
        answer = training_service.http.get(path, headers={"Range": several})
        assert (answer.status_code, answer.content) == (200, whole)
    one = training_service.http.get(path, headers={"Range": "bytes=1-3"})
    assert (one.status_code, one.content) == (206, whole[1:4])
    errors_of(training_service.http.get(path, headers={"Range": "bytes=" + "0-1," * 10_000 + "0-1"}), 431)
    for no_range in (
        "x",
        "bytes=",
        "bytes=3-1",
        "bytes=-",
        "bytes=a-b",
        "lines=1-2",
        "bytes=0x1-2",
        f"bytes={'9' * 99}-",
    ):
        answer = training_service.http.get(path, headers={"Range": no_range})
        assert (no_range, answer.status_code, answer.content) == (no_range, 200, whole)


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=999999999-999999999", "bytes=-0"])
def test_a_range_beyond_the_end_of_a_model_is_told_how_far_it_reaches(training_service: Service, asked: str) -> None:
    job_id = training_service.submit()["id"]
    training_service.until(job_id, "succeeded")
    path = f"/v1/jobs/{job_id}/model"
    size = len(training_service.http.get(path).content)
    answer = training_service.http.get(path, headers={"Range": asked})
    errors_of(answer, 416)
    assert (answer.headers["content-range"], answer.json()["title"]) == (f"bytes */{size}", "Range Not Satisfiable")
    assert answer.json()["detail"] == f"got Range: {asked}, expected a range within {size} bytes"
