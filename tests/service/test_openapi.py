"""The OpenAPI document is whole, true and up to date; and `/docs` needs no internet."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from service.app import create_app
from service.openapi import document
from service.settings import Settings
from support.clusters import ScriptedCluster
from support.service_in_process import SPEC, Service

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = document(create_app(Settings(), ScriptedCluster))
OPERATIONS = [
    pytest.param(path, verb, operation, id=f"{verb.upper()} {path}")
    for path, verbs in DOCUMENT["paths"].items()
    for verb, operation in verbs.items()
]


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_the_document_in_the_repository_is_up_to_date() -> None:
    written = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(DOCUMENT)), "run: .venv/bin/python -m service.openapi docs/openapi.json"


def test_the_last_page_of_every_list_has_no_cursor_also_where_it_is_full(service: Service) -> None:
    http = service.http
    webhook = http.post("/v1/webhooks", json={"url": "https://receiver.invalid"}).json()["id"]
    http.post("/v1/webhooks", json={"url": "https://another.invalid"})
    for _ in range(2):
        http.post(f"/v1/webhooks/{webhook}/ping")
    http.post("/v1/keys", json={"name": "a key", "scopes": ["read"], "tenant": "another"})
    service.upload("more")
    service.submit()
    attempt = service.cluster.next_job()
    for step in (1, 2):
        attempt.tell_metrics(step)
    attempt.end("cancelled")
    job = http.get("/v1/jobs").json()["items"][0]["id"]
    service.until(job, "cancelled")
    service.submit()
    names = {"job_id": job, "dataset": "numbers", "webhook_id": webhook}
    looks = {path: verbs.get("get", {}).get("parameters", []) for path, verbs in DOCUMENT["paths"].items()}
    lists = [path for path, parameters in looks.items() if "limit" in [each["name"] for each in parameters]]
    for path in lists:
        address = path.format(**names)
        items = http.get(address).json()["items"]
        count = len(items)
        assert (path, count > 1) == (path, True)
        full = http.get(address, params={"limit": count}).json()
        assert (path, len(full["items"]), full["next_cursor"]) == (path, count, None)
        first = http.get(address, params={"limit": count - 1}).json()
        last = http.get(address, params={"limit": count - 1, "cursor": first["next_cursor"]}).json()
        assert (path, len(first["items"]), len(last["items"]), last["next_cursor"]) == (path, count - 1, 1, None)
    assert len(lists) == 10


def test_everything_that_the_contract_names_is_there() -> None:
    known = {f"{verb.upper()} {path}" for path, verbs in DOCUMENT["paths"].items() for verb in verbs}
    jobs, webhook = "/v1/jobs/{job_id}", "/v1/webhooks/{webhook_id}"
    assert known == {
        "POST /v1/datasets",
        "GET /v1/datasets",
        "GET /v1/datasets/{dataset}",
        "GET /v1/datasets/{dataset}/preview",
        "GET /v1/datasets/{dataset}/histograms",
        "DELETE /v1/datasets/{dataset}",
        "POST /v1/jobs",
        "GET /v1/jobs",
        f"GET {jobs}",
        f"DELETE {jobs}",
        *(f"POST {jobs}/{verb}" for verb in ("cancel", "pause", "resume", "predict")),
        *(f"GET {jobs}/{what}" for what in ("metrics", "events", "history", "model", "evaluation", "checkpoints")),
        *(f"GET {jobs}/logs{more}" for more in ("", "/stream")),
        *(f"{verb} /v1/webhooks" for verb in ("GET", "POST")),
        *(f"{verb} {webhook}" for verb in ("GET", "PATCH", "DELETE")),
        *(f"POST {webhook}/{verb}" for verb in ("ping", "rotate_secret", "deliveries/{delivery_id}/redeliver")),
        f"GET {webhook}/deliveries",
        *(f"{verb} /v1/keys" for verb in ("GET", "POST")),
        "DELETE /v1/keys/{key_id}",
        *(f"{verb} /v1/session" for verb in ("GET", "POST", "DELETE")),
        "POST /v1/signin-links",
        "GET /v1/quota",
        "GET /v1/tenants",
        "GET /v1/tenants/{tenant}",
        "PUT /v1/tenants/{tenant}/quota",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/cluster",
        "GET /v1/version",
    }


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_every_field_is_described(name: str) -> None:
    schemas = DOCUMENT["components"]["schemas"]

    def is_described(field: dict[str, Any]) -> bool:
        return bool(field.get("description")) or (
            "$ref" in field and bool(schemas[field["$ref"].rpartition("/")[2]].get("description"))
        )

    fields = schemas[name].get("properties", {})
    assert [field for field, known in fields.items() if not is_described(known)] == []


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS)
def test_every_operation_is_described_with_its_errors(path: str, verb: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"]
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]
    failures = {int(status): answer for status, answer in operation["responses"].items() if int(status) >= 400}
    assert 500 in failures
    assert (404 in failures) == ("{" in path)
    for answer in failures.values():
        assert answer["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    takes = ("/v1/datasets", "/v1/jobs", "/v1/keys", "/v1/session", "/v1/webhooks")
    is_sent_one = (path in takes and verb == "post") or verb in ("patch", "put") or "predict" in path
    assert ("requestBody" in operation) == is_sent_one


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS)
def test_every_answer_says_which_headers_it_has(path: str, verb: str, operation: dict[str, Any]) -> None:
    told = {status: {*answer.get("headers", {})} for status, answer in operation["responses"].items()}
    assert "400" in told, "another Host"
    for status, names in told.items():
        assert "X-Request-Id" in names
        assert ("WWW-Authenticate" in names) == (status == "401")
        assert ("Retry-After" in names) == (status in ("429", "503"))
    located = {"/v1/datasets": ["201"], "/v1/jobs": ["200", "202"]}.get(path, []) if verb == "post" else []
    assert [status for status, names in told.items() if "Location" in names] == located
    if path.endswith("/model"):
        assert [status for status, names in told.items() if "ETag" in names] == ["200", "206", "304"]
        assert "Content-Disposition" in told["200"] & told["206"]


def test_answers_have_the_headers_that_the_document_says(service: Service) -> None:
    def check_headers(answer: httpx.Response, path: str, verb: str = "get") -> None:
        told = DOCUMENT["paths"][path][verb]["responses"][str(answer.status_code)]["headers"]
        assert {name.lower() for name in told} - {*answer.headers} == set()

    check_headers(service.http.get("/v1/quota"), "/v1/quota")
    check_headers(service.http.get("/v1/quota", headers={"Host": "elsewhere.example"}), "/v1/quota")
    check_headers(service.http.get("/v1/quota", headers={"Authorization": "Basic a"}), "/v1/quota")
    check_headers(service.http.post("/v1/jobs", json=SPEC), "/v1/jobs", "post")


def test_what_any_address_may_answer_is_named_once() -> None:
    for status in (405, 408, 414, 431):
        assert f"{status}" in DOCUMENT["info"]["description"]


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS)
def test_every_operation_says_what_it_needs(path: str, verb: str, operation: dict[str, Any]) -> None:
    is_open = path in ("/healthz", "/readyz", "/v1/version") or (path, verb) == ("/v1/session", "post")
    assert (operation["security"] == []) == is_open
    assert "401" in operation["responses"]
    if not is_open:
        assert ("403" in operation["responses"]) == (verb != "get" or path.startswith(("/v1/keys", "/v1/tenants")))


def check(value: Any, name: str) -> None:
    """`value` is what the document says of schema `name`."""
    check_against({"$ref": f"#/components/schemas/{name}"}, value)


def check_against(schema: dict[str, Any], value: Any) -> None:
    """`value` is what a schema of the document says."""
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    errors = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]
    assert errors == []


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS)
def test_every_body_has_an_example_that_is_what_its_schema_says(
    path: str, verb: str, operation: dict[str, Any]
) -> None:
    answers = operation["responses"]
    assert [status for status, answer in answers.items() if "content" not in answer] == (
        ["204"] if verb == "delete" else ["304"] if path.endswith("/model") else []
    )
    for body in (operation.get("requestBody", {}), *answers.values()):
        for content in body.get("content", {}).values():
            examples = [content["example"]] if "example" in content else content["examples"].values()
            assert examples
            for example in examples:
                check_against(content["schema"], example if "example" in content else example["value"])


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS)
def test_the_example_of_a_problem_is_of_its_status(path: str, verb: str, operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            example = answer["content"]["application/problem+json"]["example"]
            assert example["status"] == int(status)
            takes_json = "application/json" in operation.get("requestBody", {}).get("content", {})
            assert ("errors" in example) == (status == "422" or (status == "400" and takes_json))


def test_the_examples_of_a_spec_are_the_same_job(service: Service) -> None:
    """What a dry run completes: task, loss and defaults."""
    content = DOCUMENT["paths"]["/v1/jobs"]["post"]
    sent = content["requestBody"]["content"]["application/json"]["example"]
    completed = content["responses"]["200"]["content"]["application/json"]["examples"]["DryRun"]["value"]
    rows = "age,workclass,education,hours_per_week,income\n" + "39,a,b,40,<=50K\n52,c,d,50,>50K\n" * 20
    service.upload("adult", rows.encode())
    assert service.http.post("/v1/jobs?dry_run=true", json=sent).json()["spec"] == completed["spec"]


def test_answers_are_what_the_document_says(service: Service) -> None:
    job_id = service.submit()["id"]
    attempt = service.cluster.next_job().tell(
        "started", parameters=5, resumed_from_step=0, workers=1, environment={"a": "b"}
    )
    attempt.tell_metrics(4).end("failed", reason="diverged at step 5", error="Diverged")
    check(service.until(job_id, "failed"), "Job")
    for path, name in {
        "/v1/datasets": "DatasetPage",
        "/v1/datasets/numbers": "Dataset",
        "/v1/datasets/numbers/preview": "Preview",
        "/v1/datasets/numbers/histograms": "HistogramPage",
        "/v1/jobs": "JobPage",
        f"/v1/jobs/{job_id}/metrics": "MetricPage",
        f"/v1/jobs/{job_id}/history": "HistoryPage",
        f"/v1/jobs/{job_id}/checkpoints": "CheckpointPage",
        f"/v1/jobs/{job_id}/evaluation": "Problem",
        f"/v1/jobs/{job_id}/model": "Problem",
        "/v1/cluster": "ClusterInfo",
        "/v1/version": "VersionInfo",
        "/v1/keys": "KeyPage",
        "/v1/session": "Session",
        "/v1/quota": "OwnQuota",
        "/v1/tenants": "TenantPage",
        "/v1/tenants/default": "Tenant",
        "/v1/tenants/other": "Problem",
        "/healthz": "Status",
        "/readyz": "Status",
    }.items():
        check(service.http.get(path).json(), name)
    check(service.http.post("/v1/jobs?dry_run=true", json=SPEC).json(), "DryRun")
    check(service.http.post("/v1/jobs", json={}).json(), "Problem")
    check(service.http.post("/v1/keys", json={"name": "reads", "scopes": ["read"]}).json(), "MadeKey")
    check(service.http.post("/v1/signin-links").json(), "SigninLink")


def test_the_docs_need_no_internet_and_inline_nothing(service: Service) -> None:
    page = service.http.get("/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert links
    for link in links:
        assert link.startswith("/"), link
        assert service.http.get(link).status_code == 200
    assert not re.search(r"<script[^>]*>[^<]|<style", page.text)
    assert service.http.get("/openapi.json").json()["info"]["title"] == "Chainrule"
