"""The service's log: a line says what it is about, holds no secret, and cannot be forged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from service.auth import OPEN
from service.keys import Scope, make_key
from service.log import JsonLines, TextLines, about
from support.service_in_process import SPEC, Service

FORGED = "wine\n2026-11-27 00:00:00,000 ERROR chainrule: all is lost\x1b[2J\u202e\x85"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the service logs, as JSON."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("chainrule")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield text
    logger.removeHandler(handler)
    logger.setLevel(level)


def lines(written: io.StringIO, **fields: Any) -> list[dict[str, Any]]:
    """The lines that say so."""
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in told if fields.items() <= line.items()]


def record(message: str, error: Exception | None = None, **fields: Any) -> logging.LogRecord:
    told = logging.LogRecord("chainrule", logging.ERROR, "", 0, "%s", (message,), error and (type(error), error, None))
    vars(told).update(fields)
    return told


def test_a_line_says_what_it_is_about(service: Service, written: io.StringIO) -> None:
    answer = service.http.post("/v1/jobs", json=SPEC)
    job_id, request_id = answer.json()["id"], answer.headers["x-request-id"]
    (line,) = lines(written, request_id=request_id)
    assert line.pop("duration_s") < 20
    assert {name: line[name] for name in line if name != "time"} == {
        **{"level": "info", "logger": "chainrule.access", "message": "POST /v1/jobs: 202", "request_id": request_id},
        **{"method": "POST", "route": "/v1/jobs", "status": 202, "tenant": "default", "job_id": job_id},
    }
    service.cluster.next_job().lose("a node died")
    service.cluster.next_job().end("succeeded", parameters_sha256="a" * 64)
    service.until(job_id, "succeeded")
    of_job = lines(written, job_id=job_id, tenant="default")
    assert [line["attempt"] for line in of_job if " → " in line["message"]] == [1, 2, 2, 2]
    assert [line["level"] for line in of_job if line["message"] == f"attempt 1 of {job_id} was lost"] == ["warning"]
    assert len(lines(written, route="/v1/jobs/{job_id}", job_id=job_id, status=200)) == 1


def test_no_secret_and_no_text_of_a_stranger_is_written(service: Service, written: io.StringIO) -> None:
    key = make_key().text
    for address in (f"/v1/jobs?key={key}", f"/v1/jobs/{key}", f"/{key}", "/%0aERROR%20forged", "/v1/jobs/a%0ab"):
        service.http.get(address)
        service.http.get(address, headers={"Authorization": f"Bearer {key}"})
    made = service.http.post("/v1/keys", json={"name": "a secret name", "scopes": [Scope.READ]}).json()["key"]
    service.submit(name="a secret name")
    service.cluster.next_job()
    assert len(lines(written, logger="chainrule.access")) == 12
    for secret in (key, made, service.key, "forged", "a secret name"):
        assert secret not in written.getvalue()


def test_what_nobody_foresaw_is_logged_under_the_request(service: Service, written: io.StringIO) -> None:
    async def fails() -> None:
        raise RuntimeError(FORGED)

    service.app.add_api_route("/fails/{name}", fails, dependencies=[OPEN])
    answer = service.http.get("/fails/here")
    (line,) = lines(written, level="error", request_id=answer.json()["request_id"])
    assert line["message"] == "GET /fails/{name} failed"
    assert f"RuntimeError: {FORGED}" in line["exception"]


def test_no_text_can_forge_a_line_or_steer_a_terminal() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        told = record(FORGED, error, tenant=FORGED)
    as_text = TextLines().format(told)
    first, *others = as_text.split("\n")
    assert "wine\\n2026-11-27" in first
    assert all(line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in as_text.split("\n"))
    (as_json,) = JsonLines().format(told).splitlines()
    assert as_json.isascii()
    assert json.loads(as_json)["message"] == FORGED


def test_text_is_written_as_people_know_it() -> None:
    with about(request_id="req_1", job_id="job_1"), about(job_id="job_2"):
        line = TextLines().format(record("grüße", attempt=2))
    assert line.partition(" ERROR ")[2] == "chainrule: grüße [request_id=req_1 job_id=job_2 attempt=2]"
    assert TextLines().format(record("later")).endswith("ERROR chainrule: later")
