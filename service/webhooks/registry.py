"""The webhooks of a tenant and the log of their deliveries, as users manage them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from ulid import ULID

from service.clock import later, now
from service.database import Database, deliveries, webhooks
from service.webhooks.events import PING, envelope
from service.webhooks.outbox import PENDING, WITH_PAYLOAD, check_by_hand, disable, put
from service.webhooks.signatures import digest, secret_of
from service.webhooks.targets import Rules
from shared.errors import Conflict, NotFound

__all__ = ["MAX_WEBHOOKS", "OLD_SECRET_S", "PAGE_BYTES", "Webhooks"]

MAX_WEBHOOKS = 50  # of a tenant: each move of a job looks at all of them
OLD_SECRET_S = 24 * 3600  # in which receivers can be given the new one
PAGE_BYTES = 4 << 20  # of payloads, after which a list shows no further delivery
BY_REQUEST = "by request"

WebhookRow = Row[Any]
DeliveryRow = Row[Any]


class Webhooks:
    """Webhooks, kept in a database. `rules` say where they may go, `master` gives what their secrets follow from."""

    def __init__(
        self, database: Database, rules: Rules, master: Callable[[], bytes], clock: Callable[[], str] = now
    ) -> None:
        self._database, self._rules, self._master, self._clock = database, rules, master, clock

    # ------------------------------------------------------------ webhooks
    def add(self, tenant: str, url: str, values: Mapping[str, Any]) -> tuple[WebhookRow, str]:
        """A new webhook, and its secret. Raises InvalidInput for a URL that is not allowed, Conflict for too many."""
        host = self._rules.target(url).authority
        webhook_id = f"wh_{ULID()}"
        secret = secret_of(self._master(), webhook_id, 1)
        row = {"id": webhook_id, "tenant": tenant, "url": url, "host": host, "created_at": self._clock(), **values}
        begins = {"generation": 1, "secret_sha256": digest(secret)}
        count = sa.select(sa.func.count()).select_from(webhooks).where(webhooks.c.tenant == tenant)
        with self._database.writing() as connection:
            if connection.execute(count).scalar_one() >= MAX_WEBHOOKS:
                raise Conflict(f"there are {MAX_WEBHOOKS} webhooks, expected at most that many; delete one first")
            made = connection.execute(sa.insert(webhooks).values(**row, **begins).returning(webhooks)).one()
        return made, secret

    def get(self, tenant: str, webhook_id: str) -> WebhookRow:
        """One webhook. Raises NotFound."""
        with self._database.reading() as connection:
            return _one(connection, tenant, webhook_id)

    def list(self, tenant: str, before: int | None, limit: int) -> Sequence[WebhookRow]:
        """Webhooks, newest first, with a number below `before`."""
        query = sa.select(webhooks).where(webhooks.c.tenant == tenant).order_by(webhooks.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(webhooks.c.number < before)
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def change(self, tenant: str, webhook_id: str, values: Mapping[str, Any], enabled: bool | None) -> WebhookRow:
        """Sets columns, and switches it on or off. Raises NotFound, InvalidInput for a URL that is not allowed."""
        changed = dict(values)
        if "url" in changed:
            changed["host"] = self._rules.target(changed["url"]).authority
        if enabled:
            changed |= {"disabled_because": None, "failing_since": None}
        with self._database.writing() as connection:
            webhook = _one(connection, tenant, webhook_id, lock=True)
            if changed:
                connection.execute(sa.update(webhooks).where(webhooks.c.number == webhook.number).values(changed))
            if enabled is False and webhook.disabled_because is None:
                disable(connection, webhook.number, BY_REQUEST)
            return _one(connection, tenant, webhook_id)

    def delete(self, tenant: str, webhook_id: str) -> None:
        """Removes a webhook and the log of its deliveries. Raises NotFound."""
        with self._database.writing() as connection:
            webhook = _one(connection, tenant, webhook_id)
            connection.execute(sa.delete(webhooks).where(webhooks.c.number == webhook.number))

    def rotate_secret(self, tenant: str, webhook_id: str) -> tuple[WebhookRow, str]:
        """A new secret; the old one signs too for a day. Raises NotFound."""
        master = self._master()
        with self._database.writing() as connection:
            webhook = _one(connection, tenant, webhook_id, lock=True)
            secret = secret_of(master, webhook.id, webhook.generation + 1)
            changed = {
                "generation": webhook.generation + 1,
                "secret_sha256": digest(secret),
                "old_secret_until": later(self._clock(), OLD_SECRET_S),
            }
            connection.execute(sa.update(webhooks).where(webhooks.c.number == webhook.number).values(changed))
            return _one(connection, tenant, webhook_id), secret

    # ------------------------------------------------------------ deliveries
    def ping(self, tenant: str, webhook_id: str) -> DeliveryRow:
        """A test event, to be sent once. Raises NotFound, or Conflict for a webhook that is disabled or has many."""
        moment = self._clock()
        with self._database.writing() as connection:
            webhook = _enabled(connection, tenant, webhook_id)
            payload = envelope(PING, moment, {"webhook_id": webhook.id})
            check_by_hand(connection, webhook.number)
            return put(connection, webhook.number, PING, payload, moment)

    def redeliver(self, tenant: str, webhook_id: str, delivery_id: str) -> DeliveryRow:
        """Sends a delivery at once: again, if it has ended; else it keeps the tries that it has left.

        Raises NotFound, or Conflict for a webhook that is disabled or has many.
        """
        with self._database.writing() as connection:
            webhook = _enabled(connection, tenant, webhook_id)
            check_by_hand(connection, webhook.number)
            which = deliveries.c.webhook_number == webhook.number, deliveries.c.id == delivery_id
            retries = sa.and_(deliveries.c.retries, deliveries.c.state == PENDING)
            again = sa.update(deliveries).where(*which).values(state=PENDING, due_at=0.0, retries=retries)
            if not connection.execute(again).rowcount:
                raise NotFound(f"there is no delivery {delivery_id[:100]} of that webhook")
            return connection.execute(WITH_PAYLOAD.where(*which)).one()

    def deliveries(
        self, tenant: str, webhook_id: str, state: str | None, before: int | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """The log of a webhook, newest first, with numbers below `before`: as many as `limit`, or until their payloads
        are PAGE_BYTES. Raises NotFound."""
        with self._database.reading() as connection:
            webhook = _one(connection, tenant, webhook_id)
            found = sa.select(deliveries.c.number, deliveries.c.payload_bytes)
            found = found.where(deliveries.c.webhook_number == webhook.number)
            if before is not None:
                found = found.where(deliveries.c.number < before)
            if state is not None:
                found = found.where(deliveries.c.state == state)
            each = found.order_by(deliveries.c.number.desc()).limit(limit).subquery()
            so_far = sa.func.sum(each.c.payload_bytes).over(order_by=each.c.number.desc()) - each.c.payload_bytes
            page = sa.select(each.c.number, so_far.label("so_far")).subquery()
            query = WITH_PAYLOAD.join(page, page.c.number == deliveries.c.number).where(page.c.so_far < PAGE_BYTES)
            return connection.execute(query.order_by(deliveries.c.number.desc())).all()


def _one(connection: Connection, tenant: str, webhook_id: str, *, lock: bool = False) -> WebhookRow:
    """The webhook, if it is the tenant's. Raises NotFound."""
    query = sa.select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.tenant == tenant)
    statement = query.with_for_update(key_share=True) if lock else query
    found: WebhookRow | None = connection.execute(statement).one_or_none()
    if found is None:
        raise NotFound(f"there is no webhook {webhook_id[:100]}")
    return found


def _enabled(connection: Connection, tenant: str, webhook_id: str) -> WebhookRow:
    webhook = _one(connection, tenant, webhook_id, lock=True)
    if webhook.disabled_because is not None:
        raise Conflict(f"the webhook is disabled ({webhook.disabled_because}): enable it first")
    return webhook
