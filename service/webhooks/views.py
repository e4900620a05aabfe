"""What the API takes and answers about webhooks, and what receivers are sent, every field described."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field
from sqlalchemy import Row

from service.clock import since_1970
from service.jobs import JobState
from service.key_views import Request
from service.views import Digest, JobError, NextCursor, Time, View
from service.webhooks.targets import MAX_URL
from shared.spec import Labels, LabelValue

__all__ = [
    "Delivery",
    "DeliveryPage",
    "DeliveryState",
    "JobEvent",
    "MadeWebhook",
    "PingEvent",
    "Webhook",
    "WebhookChange",
    "WebhookPage",
    "WebhookRequest",
]

EventName = Literal["job.queued", "job.running", "job.paused", "job.succeeded", "job.failed", "job.cancelled"]
DeliveryState = Literal["pending", "succeeded", "failed"]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, examples=["https://example.com/hooks/chainrule"])]
Events = Annotated[list[EventName], Field(min_length=1, max_length=20)]
WebhookId = Annotated[str, Field(examples=["wh_01K9T4Z3N7J5W8QH2M6RVYBXCD"])]


class WebhookRequest(Request):
    """A webhook to be made."""

    url: Url
    """Where events are sent: an https URL of a host that the service may send to."""
    events: Events = Field(default=["job.succeeded", "job.failed", "job.cancelled"])
    """Which events; by default the ends of jobs."""
    labels: Labels = Field(default_factory=dict)
    """Only jobs that have all of these labels."""
    description: LabelValue = ""
    """What it is for; for people."""

    def columns(self) -> dict[str, Any]:
        """What is stored, besides the URL."""
        return _columns(self.model_dump(exclude={"url"}))


class WebhookChange(Request):
    """What is to be changed of a webhook; what is left out stays."""

    url: Url | None = None
    """Where events are sent from now on, those that wait too."""
    events: Events | None = None
    """Which events."""
    labels: Labels | None = None
    """Only jobs that have all of these labels; {} for all jobs."""
    description: LabelValue | None = None
    """What it is for."""
    enabled: bool | None = None
    """Off: nothing is sent, and what waits has failed. On: all that happens from now on is sent."""

    def columns(self) -> dict[str, Any]:
        """What is stored."""
        return _columns(self.model_dump(exclude={"enabled"}, exclude_none=True))


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """With each event once."""
    return values | {"events": list(dict.fromkeys(values["events"]))} if "events" in values else values


class Webhook(View):
    """A webhook, without its secret."""

    id: WebhookId
    """Made by the service."""
    url: Url
    """Where events are sent."""
    events: Annotated[list[str], Field(examples=[["job.succeeded", "job.failed"]])]
    """Which events."""
    labels: Annotated[dict[str, str], Field(examples=[{"team": "risk"}])]
    """Only jobs that have all of these labels."""
    description: Annotated[str, Field(examples=["the nightly jobs"])]
    """What it is for."""
    enabled: bool
    """Whether anything is sent to it."""
    disabled_reason: Annotated[str | None, Field(examples=["the receiver answered 410 Gone: it wants no more"])]
    """Why it is disabled: by request, or as the receiver did not want it or failed for days."""
    failing_since: Time | None
    """Since when every attempt has failed; null after one that succeeded."""
    old_secret_until: Time | None
    """Until when the secret before the present one signs too; null where there was none."""
    created_at: Time
    """When it was made."""

    @classmethod
    def of(cls, webhook: Row[Any], **more: Any) -> Self:
        """From the webhook's row in the database."""
        names = ("id", "url", "events", "labels", "description", "old_secret_until", "created_at")
        return cls(
            **{name: getattr(webhook, name) for name in names},
            enabled=webhook.disabled_because is None,
            disabled_reason=webhook.disabled_because,
            failing_since=None if webhook.failing_since is None else since_1970(webhook.failing_since),
            **more,
        )


class MadeWebhook(Webhook):
    """A webhook that was just made, or given a new secret."""

    secret: Annotated[str, Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBXWQxOCMhgs="])]
    """What its receiver verifies signatures with, told this once."""


class WebhookPage(View):
    """Webhooks, newest first."""

    items: list[Webhook]
    """One page of them."""
    next_cursor: NextCursor


class Delivery(View):
    """One event that is sent to one webhook, and how the last attempt at that went."""

    id: Annotated[str, Field(examples=["dlv_01K9T4Z3N7J5W8QH2M6RVYBXCD"])]
    """Made by the service; the header `webhook-id` of every attempt."""
    event: Annotated[str, Field(examples=["job.succeeded"])]
    """Which kind of event."""
    state: DeliveryState
    """Pending until it has succeeded, or failed for good."""
    attempts: Annotated[int, Field(ge=0, examples=[1])]
    """How often it was sent, the present attempt included."""
    attempted_at: Time | None
    """When it was sent last; null before that, as are those below."""
    response_status: Annotated[int | None, Field(examples=[200])]
    """What the receiver answered last; null where it did not."""
    duration_s: Annotated[float | None, Field(examples=[0.12])]
    """Seconds until that answer, or until the attempt failed."""
    error: Annotated[str | None, Field(examples=["no answer within 10 s"])]
    """What was wrong with the last attempt."""
    response_body: Annotated[str | None, Field(examples=["ok"])]
    """The beginning of the answer's body."""
    next_attempt_at: Time | None
    """When it is tried again, if it is pending; while it is being sent, when that counts as lost."""
    created_at: Time
    """When the event happened."""
    payload: Annotated[dict[str, Any], Field(examples=[{"type": "ping"}])]
    """What is sent."""

    @classmethod
    def of(cls, delivery: Row[Any]) -> "Delivery":
        """From the delivery's row in the database."""
        names = ("id", "event", "state", "attempts", "duration_s", "error", "created_at")
        due_at = delivery.created_at if delivery.due_at == 0 else since_1970(delivery.due_at)
        return cls(
            **{name: getattr(delivery, name) for name in names},
            attempted_at=None if delivery.attempted_at is None else since_1970(delivery.attempted_at),
            response_status=delivery.status,
            response_body=delivery.response,
            next_attempt_at=due_at if delivery.state == "pending" else None,
            payload=json.loads(delivery.payload),
        )


class DeliveryPage(View):
    """A webhook's deliveries, newest first."""

    items: list[Delivery]
    """One page of them."""
    next_cursor: NextCursor


# ---------------------------------------------------------------- what receivers are sent
class MovedJob(View):
    """A job that has come to another state, as it was then; `GET /v1/jobs/{id}` tells the rest."""

    id: Annotated[str, Field(examples=["job_01K9T4Z3N7J5W8QH2M6RVYBXCD"])]
    """The job."""
    name: Annotated[str, Field(examples=["adult-income"])]
    """Its name."""
    labels: Annotated[dict[str, str], Field(examples=[{"team": "risk"}])]
    """Its labels."""
    seq: Annotated[int, Field(ge=1, examples=[12])]
    """The number of the event within the job: events may come in another order, or more than once."""
    from_: Annotated[JobState | None, Field(alias="from")]
    """The state before; null for a job that was just submitted."""
    state: JobState
    """The state after."""
    reason: Annotated[str, Field(examples=["trained to its end"])]
    """Why it moved, in words."""
    attempt: Annotated[int, Field(ge=1, examples=[1])]
    """Counts up when an attempt was lost and the job goes on from its newest checkpoint."""
    metrics: Annotated[dict[str, float | None], Field(examples=[{"train_loss": 0.31}])]
    """The latest of each metric."""
    parameters_sha256: Digest | None
    """SHA-256 over the trained parameters; null until the job has succeeded."""
    error: JobError | None
    """Why it failed; null otherwise."""
    created_at: Time
    """When it was submitted."""
    started_at: Time | None
    """When it first got CPUs."""
    finished_at: Time | None
    """When it ended."""


class JobEvent(View):
    """A job has come to another state."""

    type: EventName
    """`job.` and the state."""
    timestamp: Time
    """When that was."""
    data: MovedJob
    """The job."""


class PingedWebhook(View):
    """Which webhook was tried."""

    webhook_id: WebhookId
    """Its id."""


class PingEvent(View):
    """Somebody asked for a test event."""

    type: Literal["ping"]
    """Always `ping`."""
    timestamp: Time
    """When that was."""
    data: PingedWebhook
    """Which webhook."""
