"""Problem documents, checked."""

from typing import Any

import httpx


def errors_of(answer: httpx.Response, status: int = 422) -> list[tuple[str, Any]]:
    """The wrong fields of a refusal with that status, as (field, got); it must be a whole problem document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= body.keys()
    return [(error["field"], error["got"]) for error in body.get("errors", [])]
