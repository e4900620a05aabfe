"""Every route, also one that is new, is closed to who has no key, too small a one, or another tenant's."""

import json
import time
from collections.abc import Iterator
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from ulid import ULID

from service.app import create_app
from service.auth import COOKIE, scope_of
from service.credentials import NewKeyRow
from service.database import DEFAULT_TENANT
from service.keys import Scope, digest, make_key
from service.settings import Settings
from support.clusters import ScriptedCluster
from support.problems import errors_of
from support.service_in_process import CSV, SPEC, WITHIN_S, Service

APP = create_app(Settings(), ScriptedCluster)
ROUTES = [context.original_route for context in iter_route_contexts(APP.routes)]
OPEN = {"/", "/docs", "/docs/start.js", "/healthz", "/readyz", "/v1/version", "POST /v1/session"}
MANAGED_FOR_ALL_TENANTS = {"key_id", "tenant"}
BODY = {"rows": [{"a": 1}]}


def client(service: Service, key: str | None = None) -> httpx.Client:
    """Somebody with that key, or with none."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return service.client(headers=headers)


class Call(NamedTuple):
    """A method of a route that needs a scope."""

    method: str
    path: str
    needs: Scope

    def send(self, service: Service, key: str | None) -> httpx.Response:
        """Asks for it, about things of the tenant `default`. Of an answer that does not end, the head alone is read."""
        with client(service, key) as http:
            request = http.build_request(self.method, self.path.format(**names(service)), json=BODY)
            answer = http.send(request, stream=True)
            if not answer.is_success:
                answer.read()
            answer.close()
            return answer

    @property
    def takes_json(self) -> bool:
        told = APP.openapi()["paths"].get(self.path, {}).get(self.method.lower(), {})
        return "application/json" in told.get("requestBody", {}).get("content", {})

    @property
    def names_something_of_a_tenant(self) -> bool:
        parameters = {part.strip("{}") for part in self.path.split("/") if part.startswith("{")}
        return bool(parameters - MANAGED_FOR_ALL_TENANTS)


def names(service: Service) -> dict[str, str]:
    """What stands for each parameter of a path; a new one is to be added here."""
    webhook_id = service.control.webhooks.list(DEFAULT_TENANT, None, 1)[0].id
    return {
        "job_id": service.http.get("/v1/jobs").json()["items"][0]["id"],
        "dataset": service.http.get("/v1/datasets").json()["items"][0]["id"],
        "webhook_id": webhook_id,
        "delivery_id": service.control.webhooks.deliveries(DEFAULT_TENANT, webhook_id, None, None, 1)[0].id,
        "key_id": service.http.get("/v1/session").json()["key"]["id"],
        "tenant": "default",
    }


def calls() -> Iterator[Call]:
    for route in ROUTES:
        needs = scope_of(route) if isinstance(route, APIRoute) else None
        if isinstance(route, APIRoute) and needs is not None:
            for method in route.methods:
                yield Call(method, route.path, needs)


CALLS = list(calls())


def key_of(service: Service, scope: Scope, **changes: Any) -> str:
    """A new key."""
    return service.control.credentials.add_key(NewKeyRow("a test's", scope, **changes))[1]


@pytest.fixture
def busy(service: Service) -> Service:
    """A service with a data set, a webhook to which something was sent, and a job that runs."""
    made = service.http.post("/v1/webhooks", json={"url": "https://receiver.invalid"})
    assert service.http.post(f"/v1/webhooks/{made.json()['id']}/ping").status_code == 202
    service.submit()
    return service


# ---------------------------------------------------------------- all routes
def test_every_route_says_which_scope_it_needs_and_few_are_open() -> None:
    api = [route for route in ROUTES if isinstance(route, APIRoute)]
    found = {
        route.path if "GET" in route.methods else f"{min(route.methods)} {route.path}"
        for route in api
        if scope_of(route) is None
    }
    assert found == OPEN
    others = {getattr(route, "path", None) for route in ROUTES if not isinstance(route, APIRoute)}
    assert others - {"/assets"} == {"/openapi.json", "/docs/files"}  # assets only where the page is built


def test_no_parameter_of_a_route_costs_a_thread() -> None:
    """FastAPI hands a plain function to a thread; one that must ask the database does so itself."""

    def found(dependant: Dependant) -> Iterator[str]:
        for inner in dependant.dependencies:
            is_awaited = any(map(iscoroutinefunction, (inner.call, type(inner.call).__call__)))
            if not is_awaited and not isasyncgenfunction(inner.call):
                yield str(inner.call)
            yield from found(inner)

    assert {name for route in ROUTES if isinstance(route, APIRoute) for name in found(route.dependant)} == set()


def test_a_route_that_does_not_say_which_scope_it_needs_answers_nobody(service: Service) -> None:
    async def forgotten() -> str:
        return "secret"

    service.app.add_api_route("/v1/forgotten", forgotten)
    answer = service.http.get("/v1/forgotten")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_without_a_good_key_every_route_is_401(busy: Service) -> None:
    revoked = key_of(busy, Scope.ADMIN)
    busy.control.credentials.revoke(f"key_{revoked.split('_')[1]}")
    expired = key_of(busy, Scope.ADMIN, expires_at="2020-01-01T00:00:00.000000Z")
    for key in (None, make_key().text, busy.key[:-1], "x", revoked, expired):
        for call in CALLS:
            answer = call.send(busy, key)
            assert (call, answer.status_code) == (call, 401), key
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_key_that_reads_does_not_write_and_one_that_submits_makes_no_keys(busy: Service) -> None:
    keys = {scope: key_of(busy, scope) for scope in (Scope.READ, Scope.SUBMIT)}
    for scope, key in keys.items():
        for call in CALLS:
            if call.needs not in scope.implied:
                answer = call.send(busy, key)
                assert (call, answer.status_code) == (call, 403)
                assert f"has the scope {scope}; this needs {call.needs}" in answer.json()["detail"]
    with client(busy, keys[Scope.READ]) as http:
        assert http.post("/v1/jobs", json=SPEC).status_code == 403
        assert http.post("/v1/jobs?dry_run=true", json=SPEC).status_code == 200
    assert len(busy.http.get("/v1/jobs").json()["items"]) == 1


def test_what_belongs_to_another_tenant_is_not_there(busy: Service) -> None:
    stranger = key_of(busy, Scope.ADMIN, tenant="other")
    walked = [call for call in CALLS if call.names_something_of_a_tenant]
    assert len(walked) >= 22
    for call in walked:
        assert (call, call.send(busy, stranger).status_code) == (call, 404)
    with client(busy, stranger) as http:
        assert http.get("/v1/jobs").json()["items"] == http.get("/v1/datasets").json()["items"] == []
        assert http.get("/v1/datasets/numbers").status_code == 404
        refused = http.post("/v1/jobs", json=SPEC)
        assert [error["field"] for error in refused.json()["errors"]] == ["dataset"]
    assert len(busy.http.get("/v1/jobs").json()["items"]) == 1
    assert len(busy.http.get("/v1/datasets").json()["items"]) == 1
    # The same calls find what they name where its owner asks, what removes it last: what was 404 is there.
    for call in sorted(walked, key=lambda call: (call.method == "DELETE", call.path == "/v1/webhooks/{webhook_id}")):
        status = call.send(busy, busy.key).status_code
        assert (call, status) not in [(call, 401), (call, 403), (call, 404)]


def test_an_id_of_another_tenants_data_set_in_a_body_is_one_that_is_not_there(busy: Service) -> None:
    theirs, nobodys = names(busy)["dataset"], f"ds_{ULID()}"
    with client(busy, key_of(busy, Scope.ADMIN, tenant="other")) as http:
        mine = http.post("/v1/datasets?name=numbers", content=CSV, headers={"Content-Type": "text/csv"})
        assert mine.status_code == 201
        for path in ("/v1/jobs", "/v1/jobs?dry_run=true"):
            for body in ({"dataset": "{}"}, {"validation": {"dataset": "{}"}}):
                told = []
                for dataset in (theirs, nobodys):
                    asked = {**SPEC, **json.loads(json.dumps(body).replace("{}", dataset))}
                    answer = http.post(path, json=asked)
                    field = "dataset" if "dataset" in body else "validation.dataset"
                    assert errors_of(answer) == [(field, dataset)]
                    told.append(answer.json()["errors"][0]["expected"])
                assert told[0] == told[1]
        assert http.get("/v1/jobs").json()["items"] == []
    asked = {**SPEC, "dataset": theirs, "validation": {"dataset": theirs}}
    assert busy.http.post("/v1/jobs?dry_run=true", json=asked).status_code == 200


def test_names_and_idempotency_keys_are_each_tenants_own(busy: Service) -> None:
    once = {"Idempotency-Key": "once"}
    ours = busy.http.post("/v1/jobs", json=SPEC, headers=once).json()["id"]
    theirs = key_of(busy, Scope.SUBMIT, tenant="other")
    with client(busy, theirs) as http:
        dataset = http.post("/v1/datasets?name=numbers", content=CSV, headers={"Content-Type": "text/csv"})
        assert (dataset.status_code, dataset.json()["version"]) == (201, 1)
        job = http.post("/v1/jobs", json=SPEC, headers=once)
        assert job.status_code == 202
        assert [item["id"] for item in http.get("/v1/jobs").json()["items"]] == [job.json()["id"]] != [ours]


# ---------------------------------------------------------------- keys
def test_a_key_in_the_url_opens_nothing_and_is_said_to_be_spoilt(unchanged: Service) -> None:
    for request in (f"/v1/jobs?key={unchanged.key}", f"/v1/jobs?label={unchanged.key}", f"/v1/jobs/{unchanged.key}"):
        for key in (None, unchanged.key):
            with client(unchanged, key) as http:
                answer = http.get(request)
            assert answer.status_code == 401
            assert "got a key in the URL" in answer.json()["detail"]
    for path in OPEN - {"POST /v1/session"}:
        with client(unchanged) as http:
            answer = http.get(path, params={"k": unchanged.key})
        assert (path, answer.status_code, unchanged.key in answer.text) == (path, 401, False)
    for path in ("/openapi.json", "/docs/files/x.js", "/assets/x.js", "/nowhere", f"/nowhere/{unchanged.key}"):
        for headers in ({}, {"Host": "elsewhere.example"}):
            with client(unchanged) as http:
                answer = http.get(path, params={"k": unchanged.key}, headers=headers)
            assert (path, errors_of(answer, 401), answer.headers["www-authenticate"]) == (path, [], "Bearer")
    with client(unchanged) as http:
        answer = http.post("/v1/session", params={"k": unchanged.key}, json={"code": "a"})
        assert (answer.status_code, unchanged.key in answer.text) == (401, False)
    with client(unchanged) as http:
        basic = http.get("/v1/jobs", auth=("user", unchanged.key))
    assert (basic.status_code, basic.json()["detail"]) == (
        401,
        "got Authorization: Basic, expected Authorization: Bearer KEY",
    )


def test_keys_are_made_listed_and_revoked(service: Service) -> None:
    asked = {"name": "nightly", "tenant": "risk", "scopes": ["submit"], "expires_in_s": 3600}
    answer = service.http.post("/v1/keys", json=asked)
    made = answer.json()
    assert answer.status_code == 201
    assert (made["tenant"], made["scopes"], made["revoked_at"]) == ("risk", ["read", "submit"], None)
    with client(service, made["key"]) as holder:
        told = holder.get("/v1/session").json()
        assert told == {"tenant": "risk", "scopes": ["read", "submit"], "key": {"id": made["id"], "name": "nightly"}}
        listed = service.http.get("/v1/keys?limit=1").json()
        assert [item["id"] for item in listed["items"]] == [made["id"]]
        (first,) = service.http.get("/v1/keys", params={"cursor": listed["next_cursor"]}).json()["items"]
        assert first["name"] == "admin"
        assert made["key"] not in service.http.get("/v1/keys").text
        assert service.http.delete(f"/v1/keys/{made['id']}").status_code == 204
        assert holder.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"tenant": "Ä/.."}, "tenant"),
        ({"name": ""}, "name"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "0418-01-01T00:00:00Z"}, "expires_at"),  # as text a year of three digits is later than ours
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00Z", "expires_in_s": 5}, "expires_at"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(unchanged: Service, change: dict[str, Any], field: str) -> None:
    answer = unchanged.http.post("/v1/keys", json={"name": "a key", "scopes": ["read"], **change})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert len(unchanged.http.get("/v1/keys").json()["items"]) == 1


def test_the_last_admin_key_stays(unchanged: Service) -> None:
    (key,) = unchanged.http.get("/v1/keys").json()["items"]
    assert unchanged.http.delete(f"/v1/keys/{key['id']}").status_code == 409
    assert unchanged.http.delete("/v1/keys/key_nobody00").status_code == 404


def test_a_stream_ends_soon_after_its_key_is_revoked(busy: Service) -> None:
    key = key_of(busy, Scope.READ)
    job_id = names(busy)["job_id"]
    with client(busy, key) as http, http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "id: 1"
        busy.control.credentials.revoke(f"key_{key.split('_')[1]}")
        assert "event: state" in list(lines)


def test_a_key_that_is_revoked_while_a_body_comes_does_nothing_with_it(busy: Service) -> None:
    # To predict is refused before the body comes, as the job has no model yet.
    walked = [call for call in CALLS if call.takes_json and not call.path.endswith("/predict")]
    assert len(walked) == 5
    credentials, there, keys = busy.control.credentials, names(busy), busy.http.get("/v1/keys").json()["items"]
    made = []
    for call in walked:
        text = key_of(busy, Scope.ADMIN)
        made.append(f"key_{text.split('_')[1]}")

        def content(text: str = text) -> Iterator[bytes]:
            deadline = time.monotonic() + WITHIN_S
            while (False, digest(text)) not in credentials._remembered:  # until it was found to be good
                assert time.monotonic() < deadline
                time.sleep(0.001)
            credentials.revoke(made[-1])
            yield json.dumps(BODY).encode()

        with client(busy, text) as http:
            headers = {"Content-Type": "application/json"}
            answer = http.request(call.method, call.path.format(**there), headers=headers, content=content())
        assert (call, answer.status_code) == (call, 401)
    assert len(busy.http.get("/v1/keys").json()["items"]) == len(keys) + len(made)


# ---------------------------------------------------------------- sessions of a browser
def test_a_session_is_no_key_and_a_key_no_session_however_often_they_are_shown(unchanged: Service) -> None:
    with client(unchanged) as browser:
        browser.post("/v1/session", headers={"Authorization": f"Bearer {unchanged.key}"})
        token = browser.cookies[COOKIE]
        assert browser.get("/v1/jobs").status_code == 200
        browser.cookies.clear()
        assert browser.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        assert browser.get("/v1/jobs", headers={"Authorization": f"Bearer {unchanged.key}"}).status_code == 200
        assert browser.get("/v1/jobs", headers={"Cookie": f"{COOKIE}={unchanged.key}"}).status_code == 401


def test_a_code_signs_a_browser_in_once(unchanged: Service) -> None:
    link = unchanged.http.post("/v1/signin-links").json()
    assert link["path"] == f"/#signin={link['code']}"
    with client(unchanged) as browser:
        signed_in = browser.post("/v1/session", json={"code": link["code"]})
        assert signed_in.json() == unchanged.http.get("/v1/session").json()
        cookie = signed_in.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"))
        assert "Secure" not in cookie
        assert browser.get("/v1/jobs").status_code == 200
        assert browser.post("/v1/session", json={"code": link["code"]}).status_code == 401


def test_who_signs_in_sends_a_code_and_no_more(unchanged: Service) -> None:
    with client(unchanged) as stranger:
        for code, status in {"a" * 90: 401, "a" * 4_000: 422, "a" * 5_000: 413}.items():
            assert (len(code), stranger.post("/v1/session", json={"code": code}).status_code) == (len(code), status)


def test_a_key_signs_a_browser_in_too_and_out_again(unchanged: Service) -> None:
    with client(unchanged) as browser:
        assert browser.post("/v1/session", headers={"Authorization": f"Bearer {unchanged.key}"}).status_code == 200
        token = browser.cookies[COOKIE]
        assert browser.delete("/v1/session", headers={"Origin": unchanged.url}).status_code == 204
        assert COOKIE not in browser.cookies
        assert browser.get("/v1/jobs", headers={"Cookie": f"{COOKIE}={token}"}).status_code == 401
        assert browser.post("/v1/session").status_code == 415


def test_behind_tls_the_cookie_is_for_tls_alone(unchanged: Service) -> None:
    headers = {"Authorization": f"Bearer {unchanged.key}", "X-Forwarded-Proto": "https"}
    with client(unchanged) as browser:
        assert "Secure" in browser.post("/v1/session", headers=headers).headers["set-cookie"]


def test_with_a_session_only_the_services_own_page_changes_anything(service: Service) -> None:
    with client(service) as browser:
        browser.post("/v1/session", headers={"Authorization": f"Bearer {service.key}"})
        assert browser.post("/v1/jobs?dry_run=true", json=SPEC).status_code == 403
        for origin in ("http://evil.example", "null", f"{service.url}0"):
            assert browser.post("/v1/jobs", json=SPEC, headers={"Origin": origin}).status_code == 403
        assert browser.post("/v1/jobs", json=SPEC, headers={"Origin": service.url}).status_code == 202
        assert browser.get("/v1/jobs").status_code == 200


# ---------------------------------------------------------------- hosts and origins
@pytest.mark.parametrize(
    "host", ["evil", "evil:8400", "localhost.evil.example", "127.0.0.1@evil", "", "evil#localhost"]
)
def test_another_host_is_refused_everywhere(unchanged: Service, host: str) -> None:
    for path in ("/healthz", "/docs", "/docs/files/swagger-ui.css", "/v1/jobs", "/nowhere"):
        answer = unchanged.http.get(path, headers={"Host": host})
        assert (path, answer.status_code) == (path, 400)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "[::1]:8400"])
def test_loopback_is_answered_by_all_its_names_on_whatever_port(unchanged: Service, host: str) -> None:
    assert unchanged.http.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_a_page_of_another_site_changes_nothing_whatever_key_it_has(busy: Service) -> None:
    for call in CALLS:
        if call.method != "GET":
            headers = {"Origin": "http://evil.example", "Authorization": f"Bearer {busy.key}"}
            answer = busy.http.request(call.method, call.path.format(**names(busy)), headers=headers, json=BODY)
            assert (call, answer.status_code) == (call, 403)
    assert len(busy.http.get("/v1/jobs").json()["items"]) == 1


def test_further_names_are_answered_when_they_are_allowed(tmp_path: Any) -> None:
    settings = Settings(data_dir=tmp_path / "data", allowed_host=("Train.Example",))
    service = Service(settings, ScriptedCluster())
    try:
        with client(service) as http:
            for host, status in {"train.example": 200, "other.example": 400}.items():
                assert http.get("/healthz", headers={"Host": host}).status_code == status
    finally:
        service.stop()


def test_allowed_hosts_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_ALLOWED_HOST", "train.example, other.example,")
    assert Settings().allowed_host == ("train.example", "other.example")


# ---------------------------------------------------------------- the first key
def test_the_first_start_makes_an_admin_key_that_only_its_user_can_read(start: Any) -> None:
    service = start()
    path = service.control.folder.path / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_text()
    again = start()
    assert path.read_text() == first
    assert again.http.get("/v1/session").json()["scopes"] == ["read", "submit", "admin"]
