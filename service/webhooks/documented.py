"""The part of the OpenAPI document that describes what receivers are sent."""

from typing import Any

from pydantic import BaseModel

from service.examples import JOB_EVENT, PING_EVENT
from service.webhooks.events import EVENTS, PING
from service.webhooks.views import JobEvent, PingEvent, WebhookChange, WebhookRequest

__all__ = ["MODELS", "sent"]

Json = dict[str, Any]

MODELS: tuple[type[BaseModel], ...] = (JobEvent, PingEvent, WebhookChange, WebhookRequest)

HEADERS = {
    "webhook-id": ("The delivery's id, the same at every attempt: who has seen it may ignore it.", "dlv_01K9T51R2S3T…"),
    "webhook-timestamp": ("Seconds since 1970 at this attempt; refuse what is older than five minutes.", "1795428905"),
    "webhook-signature": (
        "`v1,` and, in base64, the HMAC-SHA256 of `id.timestamp.body` under the bytes that stand in base64 behind "
        "`whsec_`; after a change of the secret two of them, with a space between.",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
}
ANSWERS = {
    "2XX": {"description": "Within ten seconds: it has arrived. The body does not matter."},
    "410": {"description": "The webhook is disabled: nothing more is sent to it."},
    "default": {"description": "Anything else, redirects too: it is sent again later, for about a day."},
}


def sent() -> Json:
    """By kind of event: the request that a receiver gets."""
    states = {event: f"A job is {event.removeprefix('job.')}" for event in EVENTS}
    states |= {f"job.{ended}": f"A job has {ended}" for ended in ("succeeded", "failed")}
    told = {event: _request(event, summary, "JobEvent", _example(event)) for event, summary in states.items()}
    return told | {PING: _request(PING, "Somebody asked for a test event", "PingEvent", PING_EVENT)}


def _request(event: str, summary: str, model: str, example: Json) -> Json:
    schema = {"$ref": f"#/components/schemas/{model}"}
    headers = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        | {"example": value}
        for name, (text, value) in HEADERS.items()
    ]
    body = {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
    operation = {"operationId": event.replace(".", "_"), "summary": summary, "tags": ["webhooks"], "security": []}
    return {"post": {**operation, "parameters": headers, "requestBody": body, "responses": ANSWERS}}


def _example(event: str) -> Json:
    """The one event that is told through, as one that comes to that state."""
    state = event.removeprefix("job.")
    if event == JOB_EVENT["type"]:
        return JOB_EVENT
    none = dict.fromkeys(("parameters_sha256", "finished_at"))
    why = {"running": "started on 2 CPUs", "queued": "Submitted.", "failed": "diverged at step 12"}
    changes = {"state": state, "reason": why.get(state, f"{state} by request"), **(none if state != "failed" else {})}
    if state == "queued":
        changes |= {"from": None, "seq": 1, "metrics": {}, "started_at": None}
    return {**JOB_EVENT, "type": event, "data": {**JOB_EVENT["data"], **changes}}
