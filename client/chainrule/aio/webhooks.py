"""The webhooks of a tenant: who else is told when jobs move, and what was sent to them."""

from collections.abc import Mapping, Sequence

from chainrule.aio.connection import AsyncConnection, segment
from chainrule.aio.page import AsyncPage
from chainrule.webhook_records import Delivery, MadeWebhook, Webhook

__all__ = ["AsyncWebhooks"]

PATH = "/v1/webhooks"


class AsyncWebhooks:
    """`client.webhooks`. Methods raise what the client's own raise: NotFound, Refused, Conflict, …"""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self,
        url: str,
        events: Sequence[str] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
    ) -> MadeWebhook:
        """Makes a webhook; only the answer holds its secret.

        `events` such as "job.running"; by default the ends of jobs. Only jobs that have all of `labels` are told of.
        """
        asked = {"url": url, "events": events and list(events), "labels": labels, "description": description}
        return MadeWebhook.of(await self._connection.send_json("POST", PATH, asked))

    async def list(self, limit: int | None = None, cursor: str | None = None) -> AsyncPage[Webhook]:
        """The webhooks, newest first, `limit` at most: a page that leads to the others."""
        return await self._connection.page(PATH, Webhook.of, {"limit": limit, "cursor": cursor})

    async def get(self, webhook_id: str) -> Webhook:
        """One webhook."""
        return Webhook.of(await self._connection.send_json("GET", _path(webhook_id)))

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Changes what is given; `enabled` switches it off or on again."""
        asked = {"url": url, "events": events and list(events), "labels": labels, "description": description}
        return Webhook.of(await self._connection.send_json("PATCH", _path(webhook_id), {**asked, "enabled": enabled}))

    async def delete(self, webhook_id: str) -> None:
        """Removes a webhook and the log of its deliveries."""
        await self._connection.send_json("DELETE", _path(webhook_id))

    async def ping(self, webhook_id: str) -> Delivery:
        """Sends a test event, once; `deliveries` tells how that went."""
        return Delivery.of(await self._connection.send_json("POST", _path(webhook_id, "ping")))

    async def rotate_secret(self, webhook_id: str) -> MadeWebhook:
        """Gives it a new secret, which only the answer holds; for a day the old one signs too."""
        return MadeWebhook.of(await self._connection.send_json("POST", _path(webhook_id, "rotate_secret")))

    async def deliveries(
        self, webhook_id: str, *, state: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> AsyncPage[Delivery]:
        """What was sent to it and is to be, newest first; `state` (pending, succeeded, failed) filters."""
        params = {"state": state, "limit": limit, "cursor": cursor}
        return await self._connection.page(_path(webhook_id, "deliveries"), Delivery.of, params)

    async def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Sends a delivery again, or at once where it waits."""
        path = _path(webhook_id, "deliveries", delivery_id, "redeliver")
        return Delivery.of(await self._connection.send_json("POST", path))


def _path(*segments: str) -> str:
    return "/".join((PATH, *map(segment, segments)))
