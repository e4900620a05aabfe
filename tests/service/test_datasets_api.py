"""Data sets over REST: uploading, listing, deleting, and that nothing is left of what was refused."""

import errno
import gzip
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import exc

from service import uploads
from service.credentials import NewKeyRow
from service.ingest.orders import Order
from service.keys import Scope
from service.routes import datasets as routes
from shared.table import TableFile
from support.problems import errors_of
from support.service_in_process import CSV, WITHIN_S, Service, Start

TYPE = {"Content-Type": "text/csv"}


def until(fact: Callable[[], bool]) -> None:
    """Waits for something that the service does without telling anybody."""
    deadline = time.monotonic() + WITHIN_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_upload_is_told_with_its_profile(service: Service) -> None:
    found = service.http.get("/v1/datasets/numbers").json()
    assert (found["name"], found["version"], found["rows"], found["size_bytes"]) == ("numbers", 1, 40, len(CSV))
    assert found["sha256"] == hashlib.sha256(CSV).hexdigest()
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["a"] == {"name": "a", "type": "integer", "missing": 0, "min": 1, "max": 40, "mean": 20.5}
    assert columns["kind"]["type"] == "category"
    assert "mean" not in columns["kind"]
    assert service.http.get(f"/v1/datasets/{found['id']}").json() == found
    rows = service.http.get("/v1/datasets/numbers/preview", params={"rows": 2}).json()["rows"]
    assert rows == [{"a": 1, "b": 1, "kind": "odd", "y": 4}, {"a": 2, "b": 4, "kind": "even", "y": 7}]


def test_a_cell_that_keeps_a_column_of_numbers_from_being_one_is_told(service: Service) -> None:
    columns = service.upload("ages", b"age,y\n1,1\n2,2\noops,3\n")["columns"]
    assert columns[0]["note"] == "read as category: row 3 has 'oops'; give types=age:number to have it refused"
    assert "note" not in columns[1]


def test_the_same_bytes_again_are_the_same_data_set_and_others_the_next_version(service: Service) -> None:
    first = service.http.get("/v1/datasets/numbers").json()
    for headers, content in ((TYPE, CSV), ({**TYPE, "Content-Encoding": "gzip"}, gzip.compress(CSV))):
        again = service.http.post("/v1/datasets", params={"name": "numbers"}, headers=headers, content=content)
        assert (again.status_code, again.json()) == (200, first)
    assert service.left() == [first["id"]]
    other = service.upload(content=CSV + b"41,1,odd,124\n")
    assert other["version"] == 2
    assert service.http.get("/v1/datasets/numbers").json()["id"] == other["id"]
    as_text = service.upload(content=CSV, types="kind:text")
    assert as_text["version"] == 3
    assert [column["type"] for column in as_text["columns"]] == ["integer", "integer", "text", "integer"]


def test_data_sets_are_paged_newest_first(service: Service) -> None:
    service.upload("second")
    page = service.http.get("/v1/datasets", params={"limit": 1}).json()
    assert [item["name"] for item in page["items"]] == ["second"]
    page = service.http.get("/v1/datasets", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert [item["name"] for item in page["items"]] == ["numbers"]


def test_a_data_set_is_deleted_with_its_file_unless_a_job_that_has_not_ended_uses_it(service: Service) -> None:
    dataset = service.http.get("/v1/datasets/numbers").json()
    job_id = service.submit()["id"]
    answer = service.http.delete(f"/v1/datasets/{dataset['id']}")
    errors_of(answer, 409)
    assert job_id in answer.json()["detail"]
    service.cluster.next_job().end("cancelled")
    service.until(job_id, "cancelled")
    assert service.http.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    errors_of(service.http.get("/v1/datasets/numbers"), 404)
    assert service.left() == []


def test_a_name_removes_nothing_so_that_a_repeated_removal_takes_no_older_version(service: Service) -> None:
    older = service.http.get("/v1/datasets/numbers").json()
    newer = service.upload(content=CSV + b"41,1,odd,124\n")
    refused = service.http.delete("/v1/datasets/numbers")
    errors_of(refused, 404)
    assert "by its id" in refused.json()["detail"]
    named_as_an_id = service.upload(name=f"ds_{'0' * 26}")
    errors_of(service.http.delete(f"/v1/datasets/{named_as_an_id['name']}"), 404)
    answers = [service.http.delete(f"/v1/datasets/{newer['id']}").status_code for _ in range(2)]
    assert answers == [204, 404]
    assert service.http.get("/v1/datasets/numbers").json() == older


@pytest.mark.parametrize(
    ("content", "headers", "query", "status"),
    [
        (CSV, {}, {}, 415),
        (CSV, {"Content-Type": "application/octet-stream"}, {}, 415),
        (b"\x80\x04.", {"Content-Type": "application/x-pickle"}, {}, 415),
        (CSV, {**TYPE, "Content-Encoding": "br"}, {}, 415),
        (CSV, {"Content-Type": "application/x-npz", "Content-Encoding": "gzip"}, {}, 415),
        (b"a,b\n1,2\n1,2,3\n", TYPE, {}, 422),
        (b"", TYPE, {}, 422),
        (b"not gzip", {**TYPE, "Content-Encoding": "gzip"}, {}, 422),
        (gzip.compress(CSV, mtime=0)[:-9], {**TYPE, "Content-Encoding": "gzip"}, {}, 422),
        (CSV, TYPE, {"name": ""}, 422),
        (CSV, TYPE, {"name": "x" * 201}, 422),
        (CSV, TYPE, {"types": "a:integer,b"}, 422),
        (CSV, TYPE, {"types": "a:decimal"}, 422),
        (CSV, TYPE, {"types": "a:integer,a:number"}, 422),
        (CSV, TYPE, {"missing": ["x"] * 101}, 422),
        (CSV, TYPE, {"delimiter": ""}, 422),
        (CSV, TYPE, {"header": "perhaps"}, 422),
        (CSV, TYPE, {"separator": ";"}, 422),
        (b"PK rubbish", {"Content-Type": "application/x-npz"}, {}, 422),
        (b"PAR1 rubbish", {"Content-Type": "application/vnd.apache.parquet"}, {}, 422),
    ],
)
def test_nothing_is_left_of_what_is_refused(
    unchanged: Service, content: bytes, headers: dict[str, str], query: dict[str, Any], status: int
) -> None:
    before = unchanged.left()
    answer = unchanged.http.post("/v1/datasets", params={"name": "bad", **query}, headers=headers, content=content)
    errors_of(answer, status)
    assert unchanged.left() == before
    assert [item["name"] for item in unchanged.http.get("/v1/datasets").json()["items"]] == ["numbers"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["folder", "receiving", "reading", "listing"])
def test_a_disk_that_takes_no_upload_is_told_in_words_without_its_paths_and_nothing_is_left(
    unchanged: Service, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    control = unchanged.control

    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(control.folder.uploads / "upload"))

    targets: dict[str, tuple[object, str]] = {
        "folder": (uploads, "_made"),
        "receiving": (routes, "receive"),
        "reading": (control.readers, "read"),
        "listing": (control.folder, "add_dataset"),
    }
    before = unchanged.left()
    monkeypatch.setattr(*targets[where], full)
    answer = unchanged.http.post("/v1/datasets", params={"name": "more"}, headers=TYPE, content=CSV)
    errors_of(answer, 503)
    assert int(answer.headers["Retry-After"]) > 1
    assert os.strerror(number) in answer.json()["detail"]
    assert str(control.folder.path) not in answer.text
    assert unchanged.left() == before


def test_a_name_is_only_a_name(service: Service) -> None:
    name = "..\\..\\x%2f <b>' OR 1=1 --"
    dataset = service.upload(name)
    assert dataset["name"] == name
    assert service.http.get(f"/v1/datasets/{quote(name, safe='')}").json() == dataset
    assert service.submit(dataset=name)["dataset_id"] == dataset["id"]


@pytest.mark.parametrize("name", ["", "x" * 201, "a/b", "../../x", ".", "..", "a\nb", "a\0", "\x1b[2J", "\x9b"])
def test_a_name_that_could_not_be_asked_for_is_refused_with_what_is_allowed(unchanged: Service, name: str) -> None:
    answer = unchanged.http.post("/v1/datasets", params={"name": name}, headers=TYPE, content=CSV)
    assert [field for field, _ in errors_of(answer)] == ["name"]
    assert "without / and control characters" in answer.json()["errors"][0]["expected"]


def test_nothing_is_left_of_an_upload_that_breaks_off(unchanged: Service) -> None:
    before = unchanged.left()
    url = unchanged.http.base_url
    with socket.create_connection((url.host, url.port or 80)) as connection:
        headers = {"Host": "localhost", "Authorization": f"Bearer {unchanged.key}", "Content-Type": "text/csv"}
        head = ["POST /v1/datasets?name=half HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall("\r\n".join([*head, f"Content-Length: {len(CSV)}", "", ""]).encode() + CSV[:100])
        until(lambda: len(unchanged.left()) > len(before))
    until(lambda: unchanged.left() == before)
    errors_of(unchanged.http.get("/v1/datasets/half"), 404)


def test_an_upload_too_many_of_a_tenant_is_refused_before_its_body_and_those_of_others_are_taken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.control.uploads, "_at_once", 1)
    _, other = service.control.credentials.add_key(NewKeyRow("another's", Scope.SUBMIT, "other"))
    answers: list[Any] = []

    def ask(key: str, content: bytes | Iterator[bytes]) -> Any:
        headers = {**TYPE, "Authorization": f"Bearer {key}"}
        return service.http.post("/v1/datasets", params={"name": "more"}, headers=headers, content=content)

    def first() -> Iterator[bytes]:
        yield CSV[:-1]
        until(lambda: len(service.left()) > 1)
        with socket.create_connection((service.http.base_url.host, service.http.base_url.port or 80)) as client:
            client.settimeout(WITHIN_S / 4)  # a body that does not come is waited for in vain for 15 s
            head = ["POST /v1/datasets?name=more HTTP/1.1", "Host: localhost", f"Authorization: Bearer {service.key}"]
            client.sendall("\r\n".join([*head, "Content-Type: text/csv", "Content-Length: 1000", "", ""]).encode())
            answers.append(client.recv(1 << 16))
        answers.append(ask(other, CSV))
        yield CSV[-1:]

    assert ask(service.key, first()).status_code == 201
    head, taken = answers
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 5" in head.lower()
    assert taken.status_code == 201
    assert ask(service.key, CSV + b"41,1,odd,124\n").status_code == 201, "the first is over"


@pytest.mark.parametrize("revoked", ["while it arrives", "while it is read"])
def test_an_upload_whose_key_is_revoked_meanwhile_is_refused_and_nothing_is_left(
    service: Service, monkeypatch: pytest.MonkeyPatch, revoked: str
) -> None:
    credentials, before = service.control.credentials, service.left()
    key, text = credentials.add_key(NewKeyRow("a test's", Scope.SUBMIT))
    read = service.control.readers.read

    async def read_and_revoke(order: Order) -> TableFile:
        table = await read(order)
        credentials.revoke(key.id)
        return table

    def content() -> Iterator[bytes]:
        yield CSV[:-1]
        until(lambda: len(service.left()) > len(before))
        if revoked == "while it arrives":
            credentials.revoke(key.id)
        yield CSV[-1:]

    if revoked == "while it is read":
        monkeypatch.setattr(service.control.readers, "read", read_and_revoke)
    headers = {**TYPE, "Authorization": f"Bearer {text}"}
    answer = service.http.post("/v1/datasets", params={"name": "more"}, headers=headers, content=content())
    errors_of(answer, 401)
    assert service.left() == before
    assert [item["name"] for item in service.http.get("/v1/datasets").json()["items"]] == ["numbers"]


@pytest.mark.parametrize("killed_at", ["listing", "removing a data set", "removing a job"])
def test_nothing_is_left_once_a_service_starts_after_one_that_was_killed_between_row_and_files(
    start: Start, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    service = start()
    dataset, job_id = service.upload(), service.submit()["id"]
    service.cluster.next_job().end("cancelled")
    service.until(job_id, "cancelled")
    folder = service.control.folder
    strange = folder.datasets / "ds_of_another_database"
    strange.mkdir()
    part, method, act = {
        "listing": (service.control.catalog, "add", lambda: service.upload("more")),
        "removing a data set": (folder, "remove_dataset", lambda: delete(f"datasets/{dataset['id']}")),
        "removing a job": (folder, "remove_job", lambda: delete(f"jobs/{job_id}")),
    }[killed_at]

    def delete(address: str) -> None:
        assert service.http.delete(f"/v1/{address}").status_code == 204

    def killed(*_: object) -> None:
        raise RuntimeError  # and nothing tidies up, as below

    with monkeypatch.context() as patch:
        patch.setattr(part, method, killed)
        with pytest.raises(AssertionError):
            act()
    assert len(service.left()) + len(list(folder.jobs.iterdir())) == (4 if killed_at == "listing" else 3)
    again = start()
    there = {item["id"] for item in again.http.get("/v1/datasets").json()["items"]}
    assert there == (set() if killed_at == "removing a data set" else {dataset["id"]})
    until(lambda: set(again.left()) == {*there, strange.name})
    jobs = [item["id"] for item in again.http.get("/v1/jobs").json()["items"]]
    until(lambda: [path.name for path in folder.jobs.iterdir()] == jobs)
    assert jobs == ([] if killed_at == "removing a job" else [job_id])


@pytest.mark.parametrize("settled", ["at the next start", "an hour later"])
def test_nothing_that_only_training_needed_is_left_of_a_job_whose_end_was_written_by_a_service_that_was_killed_then(
    start: Start, monkeypatch: pytest.MonkeyPatch, settled: str
) -> None:
    service = start()
    service.upload()
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job()
    service.act(job_id, "pause")
    attempt.end("paused")
    service.until(job_id, "paused")
    files = service.control.folder.job(job_id)
    for name in ("prepared", "checkpoints"):
        (files / name).mkdir()
    (files / "model.safetensors").touch()

    def killed(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(service.control.folder, "end_job", killed)
        assert service.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 500
    assert (service.job(job_id)["state"], len(list(files.iterdir()))) == ("cancelled", 3)
    if settled == "an hour later":
        service.control.settle()
        assert list(files.iterdir()) == []
    else:
        start()
        until(lambda: not list(files.iterdir()))


@pytest.mark.parametrize("breaks", ["before the commit", "after it"])
def test_where_the_connection_breaks_at_the_commit_a_data_set_that_is_listed_has_its_file(
    start: Start, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    service = start()
    add = service.control.catalog.add

    def broken(*arguments: Any) -> None:
        if breaks == "after it":
            add(*arguments)
        raise exc.OperationalError("COMMIT", {}, Exception("the server closed the connection unexpectedly"))

    with monkeypatch.context() as patch:
        patch.setattr(service.control.catalog, "add", broken)
        errors_of(service.http.post("/v1/datasets", params={"name": "numbers"}, headers=TYPE, content=CSV), 503)
    again = service.http.post("/v1/datasets", params={"name": "numbers"}, headers=TYPE, content=CSV)
    assert again.status_code == (200 if breaks == "after it" else 201)
    service = start()
    until(lambda: service.left() == [again.json()["id"]])
    assert len(service.http.get("/v1/datasets/numbers/preview").json()["rows"]) == 20


@pytest.mark.parametrize("what", ["ds_1", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b"])
def test_what_is_no_data_set_is_not_found(unchanged: Service, what: str) -> None:
    errors_of(unchanged.http.get(f"/v1/datasets/{what}"), 404)
    errors_of(unchanged.http.delete(f"/v1/datasets/{what}"), 404)


def test_a_preview_can_be_as_long_as_the_data_set(unchanged: Service) -> None:
    answer = unchanged.http.get("/v1/datasets/numbers/preview", params={"rows": 100_000})
    assert len(answer.json()["rows"]) == 40
    assert errors_of(unchanged.http.get("/v1/datasets/numbers/preview", params={"rows": 0})) == [("rows", "0")]


@pytest.mark.parametrize("size", [0, 100, -20])
def test_a_preview_of_a_damaged_file_says_so(service: Service, size: int) -> None:
    dataset = service.http.get("/v1/datasets/numbers").json()
    file = service.control.folder.datasets / dataset["id"] / "table.arrow"
    file.write_bytes(file.read_bytes()[:size])
    answer = service.http.get("/v1/datasets/numbers/preview")
    errors_of(answer, 404)
    assert f"data set {dataset['id']} is damaged" in answer.json()["detail"]
    file.unlink()
    errors_of(service.http.get("/v1/datasets/numbers/preview"), 404)
