"""Webhooks over REST: made, changed, tried and removed; what was sent is told, and is what is documented."""

import re
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from service.app import create_app
from service.credentials import NewKeyRow
from service.keys import Scope
from service.openapi import document
from service.settings import Settings
from service.webhooks.events import EVENTS, PING
from support.clusters import ScriptedCluster
from support.problems import errors_of
from support.receivers import Receiver
from support.service_in_process import WITHIN_S, Service

URL = "https://example.com/hooks"
DOCUMENT = document(create_app(Settings(), ScriptedCluster))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may send to this machine, with a data set, for all tests here."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("webhooks") / "data", webhook_private=True)
    service = Service(settings, ScriptedCluster())
    assert service.control.ready.wait(WITHIN_S), service.control.problems()
    service.upload()
    yield service
    service.cluster.let_go()
    service.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


def make(service: Service, url: str = URL, **values: Any) -> dict[str, Any]:
    answer = service.http.post("/v1/webhooks", json={"url": url, **values})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture
def made(service: Service, receiver: Receiver) -> Iterator[dict[str, Any]]:
    """A webhook that goes to the receiver."""
    webhook = make(service, receiver.url)
    yield webhook
    service.http.delete(f"/v1/webhooks/{webhook['id']}")


def log(service: Service, webhook: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    answer = service.http.get(f"/v1/webhooks/{webhook['id']}/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def until(service: Service, webhook: dict[str, Any], state: str) -> dict[str, Any]:
    """The newest delivery, once it has come to that state."""
    deadline = time.monotonic() + WITHIN_S
    while (newest := log(service, webhook)[0])["state"] != state:
        assert time.monotonic() < deadline, newest
        time.sleep(0.02)
    return newest


def test_a_webhook_is_made_shown_changed_and_removed_and_its_secret_is_told_once(service: Service) -> None:
    webhook = make(service, description="nightly", labels={"team": "a"})
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert webhook == {
        "id": webhook["id"],
        "url": URL,
        "events": ["job.succeeded", "job.failed", "job.cancelled"],
        "labels": {"team": "a"},
        "description": "nightly",
        "enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "old_secret_until": None,
        "created_at": webhook["created_at"],
    }
    path = f"/v1/webhooks/{webhook['id']}"
    assert service.http.get(path).json() == webhook
    listed = service.http.get("/v1/webhooks?limit=1").json()
    assert listed["items"] == [webhook]
    changed = service.http.patch(path, json={"events": ["job.paused", "job.paused"], "labels": {}, "enabled": False})
    assert changed.json() == {
        **webhook, "events": ["job.paused"], "labels": {}, "enabled": False, "disabled_reason": "by request",
    }  # fmt: skip
    assert service.http.patch(path, json={"enabled": True}).json()["disabled_reason"] is None
    assert service.http.patch(path, json={}).json()["events"] == ["job.paused"]
    assert secret not in service.http.get("/v1/webhooks").text
    assert service.http.delete(path).status_code == 204
    assert service.http.get(path).status_code == service.http.delete(path).status_code == 404


def test_a_job_that_ends_is_told_and_the_log_says_how_that_went(
    service: Service, made: dict[str, Any], receiver: Receiver
) -> None:
    service.http.patch(f"/v1/webhooks/{made['id']}", json={"events": list(EVENTS)})
    job_id = service.submit(name="told")["id"]
    attempt = service.cluster.next_job()
    attempt.tell_metrics(1).end("succeeded", parameters_sha256="d" * 64)
    job = service.until(job_id, "succeeded")
    came = sorted((receiver.next() for _ in range(3)), key=lambda each: int(each.event["data"]["seq"]))
    assert [each.event["type"] for each in came] == ["job.queued", "job.running", "job.succeeded"]
    assert all(each.is_signed_with(made["secret"]) for each in came)
    told = came[-1].event["data"]
    assert {name: told[name] for name in ("id", "name", "parameters_sha256", "finished_at", "metrics")} == {
        name: job[name] for name in ("id", "name", "parameters_sha256", "finished_at", "metrics")
    }
    newest = until(service, made, "succeeded")
    assert (newest["payload"], newest["attempts"], newest["response_status"], newest["response_body"]) == (
        came[-1].event, 1, 200, "ok",
    )  # fmt: skip
    assert (newest["error"], newest["next_attempt_at"]) == (None, None)
    check(came[-1].event, "JobEvent")
    check(came[0].event, "JobEvent")


def test_a_failed_ping_is_told_and_sent_again_by_hand(
    service: Service, made: dict[str, Any], receiver: Receiver
) -> None:
    receiver.stop()
    path = f"/v1/webhooks/{made['id']}"
    answer = service.http.post(f"{path}/ping")
    assert answer.status_code == 202
    ping = answer.json()
    assert (ping["state"], ping["attempts"], ping["next_attempt_at"]) == ("pending", 0, ping["created_at"])
    check(ping["payload"], "PingEvent")
    failed = until(service, made, "failed")
    assert (failed["id"], failed["response_status"]) == (ping["id"], None)
    assert "refused" in failed["error"]
    assert log(service, made, state="failed") == [failed]
    assert log(service, made, state="succeeded") == []
    alive = Receiver()
    service.http.patch(path, json={"url": alive.url})
    assert service.http.post(f"{path}/deliveries/{ping['id']}/redeliver").status_code == 202
    assert alive.next().headers["webhook-id"] == ping["id"]
    assert until(service, made, "succeeded")["attempts"] == 2
    alive.stop()
    service.http.patch(path, json={"enabled": False})
    for act in ("ping", f"deliveries/{ping['id']}/redeliver"):
        assert service.http.post(f"{path}/{act}").status_code == 409


def test_a_new_secret_is_told_once_and_signs(service: Service, made: dict[str, Any], receiver: Receiver) -> None:
    rotated = service.http.post(f"/v1/webhooks/{made['id']}/rotate_secret").json()
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] > rotated["created_at"]
    service.http.post(f"/v1/webhooks/{made['id']}/ping")
    came = receiver.next()
    assert came.is_signed_with(rotated["secret"])
    assert came.is_signed_with(made["secret"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "https://user:secret@example.com"}, "url"),
        ({"url": 7}, "url"),
        ({"events": []}, "events"),
        ({"events": ["job.done"]}, "events[0]"),
        ({"labels": {"team": 1}}, "labels.team"),
        ({"description": "a\x00b"}, "description"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_left(service: Service, change: dict[str, Any], field: str) -> None:
    before = service.http.get("/v1/webhooks").json()
    for method, path, body in (("POST", "", {"url": URL}), ("PATCH", f"/{make_one(service)}", {})):
        answer = service.http.request(method, f"/v1/webhooks{path}", json={**body, **change})
        assert [name for name, _ in errors_of(answer)] == [field]
        if method == "PATCH":
            service.http.delete(f"/v1/webhooks{path}")
    assert service.http.get("/v1/webhooks").json() == before


def make_one(service: Service) -> str:
    return str(make(service)["id"])


@pytest.mark.parametrize("path", ["/wh_1", "/wh_..%2f", "/wh_01K9T4Z3N7J5W8QH2M6RVYBXCD", "/wh_1/deliveries"])
def test_an_id_that_is_not_ours_is_not_found(service: Service, path: str) -> None:
    assert service.http.get(f"/v1/webhooks{path}").status_code == 404


def test_what_one_tenant_has_another_neither_sees_nor_is_told(
    service: Service, made: dict[str, Any], receiver: Receiver
) -> None:
    _, key = service.control.credentials.add_key(NewKeyRow("theirs", Scope.SUBMIT, "other"))
    with service.client(headers={"Authorization": f"Bearer {key}"}) as other:
        assert other.get("/v1/webhooks").json()["items"] == []
        theirs = other.post("/v1/webhooks", json={"url": receiver.url}).json()
        for method, path in (("GET", ""), ("PATCH", ""), ("POST", "/ping"), ("GET", "/deliveries"), ("DELETE", "")):
            body = {"json": {}} if method == "PATCH" else {}
            assert other.request(method, f"/v1/webhooks/{made['id']}{path}", **body).status_code == 404
        job_id = service.submit()["id"]
        service.cluster.next_job().end("cancelled")
        service.until(job_id, "cancelled")
        assert receiver.next().event["data"]["id"] == job_id
        assert other.get(f"/v1/webhooks/{theirs['id']}/deliveries").json()["items"] == []


def test_the_secrets_follow_from_a_file_that_only_the_service_can_read(service: Service, made: dict[str, Any]) -> None:
    folder = service.control.folder
    path = folder.path / "webhooks.key"
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, 32)
    assert folder.webhook_key() == path.read_bytes()
    assert not list(folder.path.glob(".webhooks*"))


def test_settings_say_where_webhooks_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings().webhook_hosts, Settings().webhook_private) == (("*",), False)
    monkeypatch.setenv("CHAINRULE_WEBHOOK_HOSTS", "hooks.example.com, *.internal.example")
    monkeypatch.setenv("CHAINRULE_WEBHOOK_PRIVATE", "true")
    assert Settings().webhook_hosts == ("hooks.example.com", "*.internal.example")
    assert Settings().webhook_private
    for wrong in ("https://example.com", "example.com:443", "*example.com"):
        with pytest.raises(ValueError, match="expected names or addresses without a port"):
            Settings(webhook_hosts=(wrong,))


# ---------------------------------------------------------------- the document
def check(value: Any, model: str) -> None:
    """`value` is what the document says of that model."""
    made = DOCUMENT["components"]["schemas"]
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{model}", "components": {"schemas": made}})
    assert [error.message[:200] for error in validator.iter_errors(value)] == []


def test_every_kind_of_event_is_documented_with_an_example() -> None:
    assert list(DOCUMENT["webhooks"]) == [*EVENTS, PING]
    for event, told in DOCUMENT["webhooks"].items():
        content = told["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == event
        check(content["example"], content["schema"]["$ref"].rpartition("/")[2])
        assert {each["name"] for each in told["post"]["parameters"]} == {
            "webhook-id", "webhook-timestamp", "webhook-signature",
        }  # fmt: skip


# ---------------------------------------------------------------- the page
def test_the_receivers_of_the_page_believe_what_the_service_sends(
    service: Service, made: dict[str, Any], receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blocks run as they stand there."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("webhook.secret").write_text(made["secret"] + "\n")
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/webhooks.md", "exec"), names)
    service.http.post(f"/v1/webhooks/{made['id']}/ping")
    came = receiver.next()
    for secret, believes in ((made["secret"], True), ("whsec_b3RoZXI=", False)):
        assert names["is_from_the_service"](came.body, came.headers, secret) == believes
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Quiet", (names["Receiver"],), {"log_message": print})) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        for headers, status in ((came.headers, 204), ({**came.headers, "webhook-id": "dlv_other"}, 401)):
            assert httpx.post(url, content=came.body, headers=headers, trust_env=False).status_code == status
        server.shutdown()
