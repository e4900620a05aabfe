"""Quotas over REST: what a tenant may have, and what is answered beyond that."""

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.concurrency import ConcurrencyLimit
from service.credentials import NewKeyRow
from service.keys import Scope
from service.quota import plan_bytes
from service.settings import Settings
from shared.plan import Plan
from support.clusters import ScriptedCluster, ScriptedJob
from support.problems import errors_of
from support.service_in_process import CSV, SPEC, WITHIN_S, Service

BURST = 6
NONE = {
    **{"running_jobs": None, "cpus": None, "queued_jobs": 100_000, "stored_bytes": None},
    **{"max_priority": 0, "share": 1.0},
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """For all tests here, each of which has a tenant of its own."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), submit_burst=BURST, quota_submits_per_minute=60, quota_max_priority=0
        )
        service = Service(settings, ScriptedCluster(cpus=2))
        assert service.control.ready.wait(WITHIN_S)
        yield service
        service.cluster.let_go()
        service.stop()


@pytest.fixture
def tenant(service: Service, request: pytest.FixtureRequest) -> Iterator["Member"]:
    """Somebody of a new tenant, which has a data set."""
    member = Member(service, request.node.name.replace("_", "-").partition("[")[0][-60:].strip("-"))
    member.upload(CSV)
    yield member
    service.cluster.let_go()
    for job in member.http.get("/v1/jobs").json()["items"]:
        member.http.post(f"/v1/jobs/{job['id']}/cancel")
    member.http.close()


class Member:
    """Somebody who may submit, and whom an admin sets limits."""

    def __init__(self, service: Service, name: str) -> None:
        self.name, self._admin, self._folder = name, service.http, service.control.folder.datasets
        _, key = service.control.credentials.add_key(NewKeyRow("a test's", Scope.SUBMIT, name))
        self.authorization = f"Bearer {key}"
        headers = {"Authorization": self.authorization}
        self.http = service.client(headers=headers)

    def upload(self, content: bytes, name: str = "numbers") -> httpx.Response:
        headers = {"Content-Type": "text/csv"}
        return self.http.post("/v1/datasets", params={"name": name}, headers=headers, content=content)

    def submit(self, key: str | None = None, **changes: Any) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post("/v1/jobs", json={**SPEC, **changes}, headers=headers)

    def limit(self, **quota: Any) -> dict[str, Any]:
        answer = self._admin.put(f"/v1/tenants/{self.name}/quota", json=quota)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def kept(self) -> int:
        """Bytes of the tables that lie on disk for it."""
        return sum((self._folder / item["id"] / "table.arrow").stat().st_size for item in self._datasets())

    def _datasets(self) -> list[dict[str, Any]]:
        return list(self.http.get("/v1/datasets").json()["items"])

    def own(self) -> dict[str, Any]:
        return dict(self.http.get("/v1/quota").json())


def launched(service: Service, job_id: str) -> ScriptedJob:
    """The attempt at a job; those of other tests go on."""
    while (attempt := service.cluster.next_job()).job.id != job_id:
        continue
    return attempt


# ---------------------------------------------------------------- setting and showing
def test_what_is_not_set_is_the_services_default(service: Service, tenant: Member) -> None:
    told = tenant.limit(cpus=8, share=2)
    assert told["quota"] == {**dict.fromkeys(told["quota"]), "cpus": 8, "share": 2.0}
    assert told["limits"] == {**NONE, "submits_per_minute": 60, "cpus": 8, "share": 2.0}
    assert tenant.limit(running_jobs=3)["limits"] == {**NONE, "submits_per_minute": 60, "running_jobs": 3}
    assert tenant.own() == {
        "tenant": tenant.name,
        "limits": {**NONE, "submits_per_minute": 60, "running_jobs": 3},
        "usage": {"running_jobs": 0, "cpus": 0, "queued_jobs": 0, "stored_bytes": tenant.kept()},
    }
    assert service.http.get(f"/v1/tenants/{tenant.name}").json()["limits"] == tenant.own()["limits"]


def test_a_tenants_jobs_have_no_higher_priority_than_its_quota_allows(service: Service, tenant: Member) -> None:
    refused = tenant.submit(priority=1)
    assert errors_of(refused) == [("priority", 1)]
    assert refused.json()["errors"][0]["expected"] == "at most 0, the max_priority of the tenant's quota"
    assert tenant.http.post("/v1/jobs?dry_run=true", json={**SPEC, "priority": 1}).status_code == 422
    assert tenant.http.get("/v1/jobs").json()["items"] == []
    tenant.limit(max_priority=10)
    assert [tenant.submit(priority=priority).status_code for priority in (10, -1, 11)] == [202, 202, 422]
    assert service.http.get("/v1/quota").json()["limits"]["max_priority"] is None  # the tenant `default`


def test_tenants_are_listed_by_name(service: Service, tenant: Member) -> None:
    names, cursor = [], None
    while True:
        page = service.http.get("/v1/tenants", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == sorted(names)
    assert {"default", tenant.name} <= set(names)


def test_a_tenant_that_comes_between_two_pages_has_none_listed_twice(service: Service, tenant: Member) -> None:
    page = service.http.get("/v1/tenants", params={"limit": 1}).json()
    (first,) = [item["name"] for item in page["items"]]
    service.control.credentials.add_key(NewKeyRow("a test's", Scope.READ, "0"))
    assert first > "0"
    rest = service.http.get("/v1/tenants", params={"limit": 500, "cursor": page["next_cursor"]}).json()
    assert {first} & {item["name"] for item in rest["items"]} == set()
    assert {first, *(item["name"] for item in rest["items"])} >= {"default", tenant.name}
    for wrong in ("a", "Li4v", "w6Q"):  # no base64, no name, no ASCII
        assert errors_of(service.http.get("/v1/tenants", params={"cursor": wrong})) == [("cursor", wrong)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cpus": -1}, "cpus"),
        ({"cpus": True}, "cpus"),
        ({"stored_bytes": 1.5}, "stored_bytes"),
        ({"submits_per_minute": 0}, "submits_per_minute"),
        ({"max_priority": 1_000_001}, "max_priority"),
        ({"share": 0}, "share"),
        ({"jobs": 1}, "jobs"),
    ],
)
def test_a_wrong_field_of_a_quota_is_named(service: Service, change: dict[str, Any], field: str) -> None:
    answer = service.http.put("/v1/tenants/default/quota", json=change)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


def test_a_tenant_that_is_not_there_is_not_found(service: Service) -> None:
    for name in ("nobody", "..%2f", "a" * 300):
        assert service.http.get(f"/v1/tenants/{name}").status_code == 404
        assert service.http.put(f"/v1/tenants/{name}/quota", json={}).status_code == 404


# ---------------------------------------------------------------- submits
def test_submits_that_come_too_fast_are_told_when_to_come_again_and_leave_nothing(tenant: Member) -> None:
    answers = [tenant.submit(f"once {number}") for number in range(3 * BURST)]
    made = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert BURST <= len(made) < len(answers) == len(made) + len(refused)
    for answer in refused:
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
    assert {job["id"] for job in tenant.http.get("/v1/jobs").json()["items"]} == set(made)
    assert tenant.submit("once 0").json()["id"] == made[0]
    tenant.limit(submits_per_minute=2)
    while (answer := tenant.submit()).status_code == 202:  # what a slow machine has left time for
        continue
    assert answer.status_code == 429
    assert tenant.http.post("/v1/jobs?dry_run=true", json=SPEC).status_code == 200


def test_a_known_submit_is_answered_whatever_the_pace_also_after_a_restart(service: Service, tenant: Member) -> None:
    first = tenant.submit("once")
    service.control.pace = type(service.control.pace)(BURST)  # as the next start has it
    while tenant.submit().status_code == 202:
        continue
    again = tenant.submit("once")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]


def test_an_idempotency_key_frees_of_the_pace_only_where_its_job_is_there(tenant: Member) -> None:
    tenant.limit(submits_per_minute=2)
    job_id = tenant.submit("once").json()["id"]
    assert [tenant.submit("once").status_code for _ in range(5)] == [200] * 5
    tenant.http.post(f"/v1/jobs/{job_id}/cancel")
    with tenant.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        assert '"to": "cancelled"' in events.read().decode()
    assert tenant.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert [tenant.submit("once", epochs=-1).status_code for _ in range(3)] == [422, 429, 429]
    assert tenant.submit("once").status_code == 429


def answer_to_head(service: Service, authorization: str, key: str) -> bytes:
    """The first line of what is answered to a submit of which no body has come."""
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nIdempotency-Key: {key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((service.http.base_url.host, service.http.base_url.port or 80)) as client:
        client.settimeout(WITHIN_S / 4)  # a body that does not come is waited for in vain for 15 s
        client.sendall(head.encode())
        return client.recv(1 << 16).partition(b"\r\n")[0]


def test_a_submit_that_comes_too_fast_is_refused_before_its_body_unless_its_key_is_known(
    service: Service, tenant: Member
) -> None:
    tenant.limit(submits_per_minute=1)
    assert tenant.submit("once").status_code == 202
    assert answer_to_head(service, tenant.authorization, "another").startswith(b"HTTP/1.1 429 ")
    assert tenant.submit("once").status_code == 200
    assert tenant.submit("another", epochs=-1).status_code == 429
    assert tenant.submit("once", epochs=-1).status_code == 429, "it is no repetition"


def test_a_repetition_that_the_pace_would_refuse_takes_a_turn_of_its_tenant(service: Service, tenant: Member) -> None:
    tenant.limit(submits_per_minute=1)
    usual = service.control.concurrency
    assert tenant.submit("once").status_code == 202
    try:
        service.control.concurrency = ConcurrencyLimit(at_once=0, may_wait=0)
        refused = tenant.submit("once")
    finally:
        service.control.concurrency = usual
    assert refused.status_code == 429
    assert "wait already" in refused.json()["detail"]


def test_a_key_that_may_not_submit_is_told_so_before_its_body(service: Service, tenant: Member) -> None:
    _, key = service.control.credentials.add_key(NewKeyRow("a reader's", Scope.READ, tenant.name))
    assert answer_to_head(service, f"Bearer {key}", "once").startswith(b"HTTP/1.1 403 ")
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/plain"}
    assert tenant.http.post("/v1/jobs", content=b"{", headers=headers).status_code == 403


def test_more_jobs_than_may_wait_are_refused(tenant: Member) -> None:
    tenant.limit(queued_jobs=2, running_jobs=0)
    assert [tenant.submit("a").status_code, tenant.submit().status_code] == [202, 202]
    refused = tenant.submit()
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("2 jobs of the tenant wait already, expected at most 2")
    assert tenant.submit("a").status_code == 200
    assert tenant.own()["usage"]["queued_jobs"] == 2


def test_a_job_that_the_quota_keeps_from_starting_says_so(service: Service, tenant: Member) -> None:
    tenant.limit(running_jobs=0)
    held = tenant.submit().json()["id"]
    other = Member(service, f"{tenant.name[-50:]}-other")
    other.upload(CSV)
    theirs = other.submit().json()["id"]
    launched(service, theirs)
    reason = tenant.http.get(f"/v1/jobs/{held}").json()["reason"]
    assert reason == "waits until fewer of its tenant's jobs run: 0 run, the quota is 0"
    assert other.own()["usage"]["running_jobs"] == other.own()["usage"]["cpus"] == 1
    other.http.post(f"/v1/jobs/{theirs}/cancel")
    other.http.close()


# ---------------------------------------------------------------- stored bytes
@contextmanager
def begun(service: Service, tenant: Member, content: bytes) -> Iterator[socket.socket]:
    """An upload of which so much has been sent, and no end."""
    head = f"POST /v1/datasets?name=more HTTP/1.1\r\nHost: localhost\r\nAuthorization: {tenant.authorization}\r\n"
    head += f"Content-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n{len(content):x}\r\n"
    with socket.create_connection((service.http.base_url.host, service.http.base_url.port or 80)) as client:
        client.settimeout(WITHIN_S)
        client.sendall(head.encode() + content + b"\r\n")
        yield client


def until(fact: Callable[[], bool]) -> None:
    """Waits for something that the service does without telling anybody."""
    deadline = time.monotonic() + WITHIN_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refusal_of(client: socket.socket) -> str:
    """Why what was sent is too large."""
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
        answer += client.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["detail"])


def test_an_upload_over_the_quota_is_refused_while_it_streams(service: Service, tenant: Member) -> None:
    kept = tenant.kept()
    tenant.limit(stored_bytes=kept + 1_000)
    before = service.left()
    with begun(service, tenant, b"1,2\n" * 256) as client:
        detail = refusal_of(client)
    assert detail == (
        f"got more than 1,000 bytes, expected at most that many, as the tenant has stored {kept:,} of the "
        f"{kept + 1_000:,} bytes of its quota; delete data sets or jobs"
    )
    assert service.left() == before
    tenant.limit(stored_bytes=kept + 10_000)
    assert tenant.upload(b"a,b\n" + b"1,2\n" * 200, "fits").status_code == 201
    assert tenant.upload(b"a,b\n" + b"1,2\n" * 200, "fits").status_code == 200


def test_uploads_that_arrive_at_once_have_what_is_left_together(service: Service, tenant: Member) -> None:
    tenant.limit(stored_bytes=tenant.kept() + 1_000)
    with begun(service, tenant, b"1,2\n" * 150):
        until(lambda: service.control.tenants.arriving(tenant.name) == 600)
        with begun(service, tenant, b"1,2\n" * 150) as second:
            detail = refusal_of(second)
    until(lambda: service.control.tenants.arriving(tenant.name) == 0)
    assert detail.startswith("got more than 400 bytes, expected at most that many, as the tenant has stored ")
    assert detail.endswith("; other uploads, 600 bytes so far, arrive now")


def test_a_table_for_which_there_is_no_room_is_refused_however_short_its_file_was(
    service: Service, tenant: Member
) -> None:
    kept = tenant.kept()
    rows = b"a,b\n" + b"1,2\n" * 2_000
    tenant.limit(stored_bytes=kept + 3 * len(rows))
    before = service.left()
    refused = tenant.upload(rows, "short")
    assert refused.status_code == 413
    assert f"stored {kept:,} of the {kept + 3 * len(rows):,} bytes" in refused.json()["detail"]
    assert service.left() == before
    tenant.limit(stored_bytes=kept + 10 * len(rows))
    assert tenant.upload(rows, "short").status_code == 201
    assert tenant.own()["usage"]["stored_bytes"] == tenant.kept() > kept + 3 * len(rows)


def test_the_same_file_again_is_the_same_data_set_also_where_nothing_is_left(tenant: Member) -> None:
    tenant.limit(stored_bytes=0)
    assert tenant.upload(CSV).status_code == 200
    assert tenant.upload(CSV[:-4]).status_code == tenant.upload(CSV, "other").status_code == 413


def test_a_job_for_whose_model_and_plan_there_is_no_room_is_refused(service: Service, tenant: Member) -> None:
    plan = tenant.http.post("/v1/jobs?dry_run=true", json=SPEC).json()
    of_plan, kept = plan_bytes(Plan.model_validate(plan)), tenant.kept()
    tenant.limit(stored_bytes=kept + of_plan + 4 * plan["parameters"])
    assert tenant.submit(dtype="float64").status_code == 409
    given_up = tenant.submit().json()["id"]
    assert tenant.submit().status_code == 409, "room is kept for the model of a job that has not ended"
    launched(service, given_up).end("cancelled")
    with tenant.http.stream("GET", f"/v1/jobs/{given_up}/events") as events:
        assert '"to": "cancelled"' in events.read().decode()
    assert tenant.own()["usage"]["stored_bytes"] == kept + of_plan, "a plan stays as long as its job"
    tenant.limit(stored_bytes=kept + 2 * of_plan + 4 * plan["parameters"])
    job_id = tenant.submit().json()["id"]
    launched(service, job_id).end("succeeded", parameters_sha256="a" * 64)
    with tenant.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        assert '"to": "succeeded"' in events.read().decode()
    assert tenant.own()["usage"]["stored_bytes"] == kept + 2 * of_plan + 4 * plan["parameters"]
    assert tenant.submit().status_code == 409
    assert tenant.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert tenant.own()["usage"]["stored_bytes"] == kept + of_plan
