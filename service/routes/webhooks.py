"""Webhooks: making, changing and removing them, and the log of what was sent to them."""

import re
from operator import attrgetter
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from service.auth import Reader, Submitter
from service.examples import WEBHOOK, WEBHOOK_CHANGE
from service.field_errors import validated
from service.json_body import JsonBody
from service.openapi import errors, json_body
from service.routes.parameters import ULID, Control, Cursor, Limit, in_path, known_as
from service.views import number_of, page_of
from service.webhooks.registry import PAGE_BYTES
from service.webhooks.views import (
    Delivery,
    DeliveryPage,
    DeliveryState,
    MadeWebhook,
    Webhook,
    WebhookChange,
    WebhookPage,
    WebhookRequest,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WEBHOOK_ID, DELIVERY_ID = re.compile(f"wh_{ULID}"), re.compile(f"dlv_{ULID}")


async def _webhook_id(
    webhook_id: Annotated[str, in_path("webhook", "wh_01K9T4Z3N7J5W8QH2M6RVYBXCD", WEBHOOK_ID)],
) -> str:
    return known_as("webhook", WEBHOOK_ID, webhook_id)


async def _delivery_id(
    delivery_id: Annotated[str, in_path("delivery", "dlv_01K9T4Z3N7J5W8QH2M6RVYBXCD", DELIVERY_ID)],
) -> str:
    return known_as("delivery", DELIVERY_ID, delivery_id)


WebhookId = Annotated[str, Depends(_webhook_id)]
DeliveryId = Annotated[str, Depends(_delivery_id)]


@router.post(
    "",
    status_code=201,
    responses=errors(400, 409, 413, 415, 422, 503),
    openapi_extra=json_body(WebhookRequest, WEBHOOK),
)
def add_webhook(data: JsonBody, who: Submitter, control: Control) -> MadeWebhook:
    """Make a webhook; the answer alone holds its secret."""
    asked = validated(WebhookRequest, data)
    webhook, secret = control.webhooks.add(who.tenant, asked.url, asked.columns())
    return MadeWebhook.of(webhook, secret=secret)


@router.get("", responses=errors(422, 503))
def list_webhooks(who: Reader, control: Control, limit: Limit = 50, cursor: Cursor = None) -> WebhookPage:
    """List webhooks, newest first."""
    rows = control.webhooks.list(who.tenant, number_of(cursor), limit + 1)
    page, next_cursor = page_of(rows, limit, attrgetter("number"))
    return WebhookPage(items=[Webhook.of(row) for row in page], next_cursor=next_cursor)


@router.get("/{webhook_id}", responses=errors(404, 422, 503))
def get_webhook(webhook_id: WebhookId, who: Reader, control: Control) -> Webhook:
    """Show a webhook."""
    return Webhook.of(control.webhooks.get(who.tenant, webhook_id))


@router.patch(
    "/{webhook_id}",
    responses=errors(400, 404, 413, 415, 422, 503),
    openapi_extra=json_body(WebhookChange, WEBHOOK_CHANGE),
)
def change_webhook(webhook_id: WebhookId, data: JsonBody, who: Submitter, control: Control) -> Webhook:
    """Change a webhook, or switch it on or off."""
    control.webhooks.get(who.tenant, webhook_id)
    asked = validated(WebhookChange, data)
    return Webhook.of(control.webhooks.change(who.tenant, webhook_id, asked.columns(), asked.enabled))


@router.delete("/{webhook_id}", status_code=204, responses=errors(404, 422, 503))
def delete_webhook(webhook_id: WebhookId, who: Submitter, control: Control) -> None:
    """Remove a webhook and the log of its deliveries."""
    control.webhooks.delete(who.tenant, webhook_id)


@router.post("/{webhook_id}/ping", status_code=202, responses=errors(404, 409, 422, 503))
def ping_webhook(webhook_id: WebhookId, who: Submitter, control: Control) -> Delivery:
    """Send a test event, once."""
    return Delivery.of(control.webhooks.ping(who.tenant, webhook_id))


@router.post("/{webhook_id}/rotate_secret", responses=errors(404, 422, 503))
def rotate_webhook_secret(webhook_id: WebhookId, who: Submitter, control: Control) -> MadeWebhook:
    """Give a webhook a new secret, which the answer alone holds; for a day the old one signs too."""
    webhook, secret = control.webhooks.rotate_secret(who.tenant, webhook_id)
    return MadeWebhook.of(webhook, secret=secret)


@router.get("/{webhook_id}/deliveries", responses=errors(404, 422, 503))
def list_deliveries(
    webhook_id: WebhookId,
    who: Reader,
    control: Control,
    state: Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """List what was sent to a webhook and is to be, newest first: fewer than `limit` where payloads are long."""
    rows = control.webhooks.deliveries(who.tenant, webhook_id, state, number_of(cursor), limit + 1)
    is_full = sum(row.payload_bytes for row in rows) >= PAGE_BYTES
    page, next_cursor = page_of(rows, limit, attrgetter("number"), is_full)
    return DeliveryPage(items=[Delivery.of(row) for row in page], next_cursor=next_cursor)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202, responses=errors(404, 409, 422, 503))
def redeliver(webhook_id: WebhookId, delivery_id: DeliveryId, who: Submitter, control: Control) -> Delivery:
    """Send a delivery again, or at once where it waits."""
    return Delivery.of(control.webhooks.redeliver(who.tenant, webhook_id, delivery_id))
