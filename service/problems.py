"""Problem documents (RFC 9457), for all who answer: the application, and what answers before it or in its place."""

from http import HTTPStatus
from typing import Any

__all__ = ["MEDIA_TYPE", "problem_document", "title_of"]

MEDIA_TYPE = "application/problem+json"
RENAMED = {  # Python has the older names
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def problem_document(status: int, detail: str, request_id: str = "") -> dict[str, Any]:
    """What such an answer holds, wrong fields aside."""
    return {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }


def title_of(status: int) -> str:
    """The status in words, as RFC 9110 has them."""
    return RENAMED.get(status) or (HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error")
