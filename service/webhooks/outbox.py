"""What is to be delivered: written in the transaction of the job's move, claimed by one control plane at a time.

To claim a delivery is to count its attempt and to make it due again only when the claimer should long have settled it.
Whoever does so from what it saw wins; what an attempt of before has to tell is then refused. So a claimer that dies
needs nobody to notice, and the delivery is sent again: at least once, mostly once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import random as any_number
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row
from ulid import ULID

from service.clock import since_1970
from service.database import Database, DatabaseTime, deliveries, job_labels, jobs, payloads, webhooks
from service.webhooks.events import OF_THE_JOB, PING, data_of, envelope, event_of, wants
from service.webhooks.retries import Answer, Done, GiveUp, TryAgain, after_attempt
from shared.errors import Conflict

__all__ = [
    "AT_ONCE",
    "KEEPS",
    "KEEPS_S",
    "LEASE_S",
    "LOOK_AHEAD",
    "MOST_BYTES",
    "MOST_BY_HAND",
    "MOST_WAIT",
    "PENDING",
    "PER_HOST",
    "PER_TENANT",
    "WITH_PAYLOAD",
    "Claimed",
    "Due",
    "Outbox",
    "announce",
    "check_by_hand",
    "chosen",
    "disable",
    "put",
]

PENDING, SUCCEEDED, FAILED = "pending", "succeeded", "failed"
WAIT, ENDED = deliveries.c.state == PENDING, deliveries.c.state != PENDING
LEASE_S = 90.0  # longer than an attempt, with a name that resolves slowly and a database that is away for a while
AT_ONCE, PER_TENANT, PER_HOST = 64, 8, 2
LOOK_AHEAD = 200  # webhooks
MOST_BY_HAND = 100  # pings and deliveries sent again that wait, a webhook
MOST_WAIT = 10_000  # events of a webhook, of which the newest are the ones that are still of use
KEEPS_S = 30 * 24 * 3600
KEEPS = 1_000  # of those that have ended, a webhook
MOST_BYTES = 16 << 20  # of the payloads of those that wait, and of those that have ended, of a webhook
FORGETS_AT_ONCE = 500  # payloads
TOO_MANY = (  # of a webhook wait, or too long ones
    sa.select(deliveries.c.webhook_number)
    .where(deliveries.c.webhook_number == webhooks.c.number, WAIT)
    .group_by(deliveries.c.webhook_number)
    .having(sa.or_(sa.func.count() > MOST_WAIT, sa.func.sum(deliveries.c.payload_bytes) > MOST_BYTES))
    .exists()
)


# ---------------------------------------------------------------- written with the move
TO_BE_TOLD = (
    sa.select(webhooks.c.tenant, webhooks.c.number, webhooks.c.events, webhooks.c.labels)
    .where(webhooks.c.tenant.in_(sa.bindparam("tenants", expanding=True)), webhooks.c.disabled_because.is_(None))
    .with_for_update(read=True, key_share=True)
)
WITH_PAYLOAD = sa.select(deliveries, payloads.c.payload).join_from(deliveries, payloads)
AS_IT_IS = sa.select(*(jobs.c[name] for name in OF_THE_JOB)).where(jobs.c.number == sa.bindparam("of_job"))
LABELS = (
    sa.select(job_labels.c.key, job_labels.c.value)
    .where(job_labels.c.job_number == sa.bindparam("of_job"))
    .order_by(job_labels.c.key)
)


def announce(connection: Connection, moved: Sequence[Any], seq: int, told: Mapping[str, Any]) -> None:
    """Writes what the tenants' webhooks are to be told of a move that these jobs have made, of which `told` is event
    number `seq` of each.

    Webhooks are held in place meanwhile: one that is deleted at the same time must not undo the move.
    """
    found = connection.execute(TO_BE_TOLD, {"tenants": sorted({job.tenant for job in moved})}).all()
    if not found:
        return
    event = event_of(told)
    for job in moved:
        of_tenant = [each for each in found if each.tenant == job.tenant]
        labels = _labels(connection, job.number) if of_tenant else {}
        wanted = [each.number for each in of_tenant if wants(each, event, labels)]
        if wanted:
            now = connection.execute(AS_IT_IS, {"of_job": job.number}).one()
            payload = _written(connection, envelope(event, told["at"], data_of(now, labels, seq, told)))
            connection.execute(sa.insert(deliveries), [_new(number, event, payload, told["at"]) for number in wanted])


def _labels(connection: Connection, job_number: int) -> dict[str, str]:
    return {label.key: label.value for label in connection.execute(LABELS, {"of_job": job_number})}


def check_by_hand(connection: Connection, webhook_number: int) -> None:
    """Raises Conflict where as many that somebody asked for wait already as may: they are not retried, so the receiver
    is slow, or there are very many."""
    asked = deliveries.c.webhook_number == webhook_number, deliveries.c.state == PENDING, ~deliveries.c.retries
    found = sa.select(deliveries.c.number).where(*asked).limit(MOST_BY_HAND).subquery()
    waiting = connection.scalar(sa.select(sa.func.count()).select_from(found)) or 0
    if waiting >= MOST_BY_HAND:
        raise Conflict(
            f"{waiting} pings and deliveries sent again wait already, expected fewer than {MOST_BY_HAND}; try again "
            "when the receiver has answered some"
        )


def put(connection: Connection, webhook_number: int, event: str, payload: str, moment: str) -> Row[Any]:
    """Writes a delivery that is due at once, and returns it."""
    made = _new(webhook_number, event, _written(connection, payload), moment)
    connection.execute(sa.insert(deliveries).values(made))
    return connection.execute(WITH_PAYLOAD.where(deliveries.c.id == made["id"])).one()


def _written(connection: Connection, payload: str) -> dict[str, Any]:
    """Writes a payload; the columns of the deliveries that are to carry it."""
    payload_id = f"pay_{ULID()}"
    connection.execute(sa.insert(payloads).values(id=payload_id, payload=payload))
    return {"payload_id": payload_id, "payload_bytes": len(payload.encode())}


def _new(webhook_number: int, event: str, payload: Mapping[str, Any], moment: str) -> dict[str, Any]:
    row = {"id": f"dlv_{ULID()}", "webhook_number": webhook_number, "event": event, **payload}
    return row | {"state": PENDING, "due_at": 0.0, "attempts": 0, "retries": event != PING, "created_at": moment}


# ---------------------------------------------------------------- which are next
@dataclass(frozen=True)
class Due:
    """A delivery that may be sent now."""

    number: int
    attempts: int
    """Before this one."""
    host: str
    tenant: str


@dataclass(frozen=True)
class Claimed:
    """A delivery that is this process's to send, once."""

    number: int
    id: str
    attempt: int
    payload: str
    is_ping: bool
    retries: bool
    webhook_number: int
    webhook_id: str
    url: str
    host: str
    tenant: str
    generation: int
    secret_sha256: str
    old_secret_until: str | None


def chosen(due: Iterable[Due], flying: Iterable[Due | Claimed]) -> list[Due]:
    """Those of `due` to begin with now, in their order: a host or a tenant that is slow must not take all places."""
    under_way = list(flying)
    hosts, tenants = Counter(each.host for each in under_way), Counter(each.tenant for each in under_way)
    taken: list[Due] = []
    for each in due:
        if len(under_way) + len(taken) == AT_ONCE:
            break
        if hosts[each.host] < PER_HOST and tenants[each.tenant] < PER_TENANT:
            hosts[each.host] += 1
            tenants[each.tenant] += 1
            taken.append(each)
    return taken


class Outbox:
    """The deliveries of all tenants. Every statement goes by `time`, the database's clock by default; `random` makes
    the jitter of retries."""

    def __init__(
        self,
        database: Database,
        time: ColumnElement[float] | None = None,
        random: Callable[[], float] = any_number,
    ) -> None:
        self._database, self._random = database, random
        self._time: ColumnElement[float] = DatabaseTime() if time is None else time

    def claim(self, flying: Sequence[Claimed]) -> list[Claimed]:
        """Takes what is due and has a place beside what is `flying` from here already."""
        with self._database.reading() as connection:
            taken = chosen(self._due(connection, flying), flying)
        if not taken:
            return []
        with self._database.writing() as connection:
            claimed = [self._claim(connection, each) for each in taken]
        return [each for each in claimed if each is not None]

    def _due(self, connection: Connection, flying: Sequence[Claimed]) -> Iterator[Due]:
        """The first of each webhook, those before all others that have been due for longest: however many wait for one,
        it costs no more, and does not hide the others."""
        hosts, tenants = Counter(each.host for each in flying), Counter(each.tenant for each in flying)
        pending = deliveries.c.webhook_number == webhooks.c.number, deliveries.c.state == PENDING
        first = sa.select(sa.func.min(deliveries.c.due_at)).where(*pending).scalar_subquery()
        open_ = (
            sa.select(webhooks.c.number, webhooks.c.host, webhooks.c.tenant, first.label("due_at"))
            .where(webhooks.c.disabled_because.is_(None))
            .where(webhooks.c.host.not_in([host for host, count in hosts.items() if count >= PER_HOST]))
            .where(webhooks.c.tenant.not_in([tenant for tenant, count in tenants.items() if count >= PER_TENANT]))
            .subquery()
        )
        due = sa.select(open_).where(open_.c.due_at <= self._time).order_by(open_.c.due_at, open_.c.number)
        for webhook in connection.execute(due.limit(LOOK_AHEAD)).all():
            which = deliveries.c.webhook_number == webhook.number, deliveries.c.state == PENDING
            query = sa.select(deliveries.c.number, deliveries.c.attempts).where(*which)
            soonest = query.where(deliveries.c.due_at <= self._time).order_by(deliveries.c.due_at, deliveries.c.number)
            for row in connection.execute(soonest.limit(PER_HOST)):
                yield Due(row.number, row.attempts, webhook.host, webhook.tenant)

    def _claim(self, connection: Connection, due: Due) -> Claimed | None:
        """Takes one, unless somebody else has done so since it was seen."""
        enabled = sa.select(webhooks.c.number).where(webhooks.c.disabled_because.is_(None))
        mine = (
            sa.update(deliveries)
            .where(deliveries.c.number == due.number, deliveries.c.attempts == due.attempts)
            .where(deliveries.c.state == PENDING, deliveries.c.due_at <= self._time)
            .where(deliveries.c.webhook_number.in_(enabled))
            .values(attempts=due.attempts + 1, attempted_at=self._time, due_at=self._time + LEASE_S)
        )
        row = connection.execute(mine.returning(deliveries)).one_or_none()
        if row is None:
            return None
        to = connection.execute(sa.select(webhooks).where(webhooks.c.number == row.webhook_number)).one()
        payload = connection.execute(sa.select(payloads.c.payload).where(payloads.c.id == row.payload_id)).scalar_one()
        ours = {name: getattr(row, name) for name in ("number", "id", "retries", "webhook_number")}
        theirs = ("url", "host", "tenant", "generation", "secret_sha256", "old_secret_until")
        return Claimed(
            attempt=row.attempts,
            payload=payload,
            is_ping=row.event == PING,
            webhook_id=to.id,
            **ours,
            **{name: getattr(to, name) for name in theirs},
        )

    # ------------------------------------------------------------ how it went
    def settle(self, claimed: Claimed, answer: Answer) -> Done | TryAgain | GiveUp | None:
        """Writes down how an attempt ended and what follows; None where it is no longer the latest, or all is gone."""
        query = sa.select(webhooks.c.disabled_because, webhooks.c.failing_since, self._time.label("now"))
        held = query.where(webhooks.c.number == claimed.webhook_number).with_for_update(key_share=True)
        with self._database.writing() as connection:
            webhook = connection.execute(held).one_or_none()
            if webhook is None:
                return None
            follows = self._follows(claimed, answer, webhook)
            if not self._write(connection, claimed, answer, follows, webhook.now):
                return None
            if isinstance(follows, GiveUp) and follows.disables:
                disable(connection, claimed.webhook_number, follows.disables)
            if not answer.is_success and not claimed.is_ping and webhook.failing_since is None:
                self._mark(connection, claimed, webhook.now)
            elif answer.is_success and webhook.failing_since is not None:
                self._mark(connection, claimed, None)
        return follows

    def _follows(self, claimed: Claimed, answer: Answer, webhook: Any) -> Done | TryAgain | GiveUp:
        failing_for_s = webhook.now - webhook.failing_since if webhook.failing_since is not None else 0.0
        retries = claimed.retries and webhook.disabled_because is None
        return after_attempt(answer, claimed.attempt, retries=retries, failing_for_s=failing_for_s, random=self._random)

    def _write(
        self, connection: Connection, claimed: Claimed, answer: Answer, follows: Done | TryAgain | GiveUp, moment: float
    ) -> bool:
        values: dict[str, Any] = {"status": answer.status, "duration_s": answer.duration_s, "error": answer.problem}
        values |= {"response": answer.body, "state": FAILED if isinstance(follows, GiveUp) else PENDING}
        if isinstance(follows, Done):
            values["state"] = SUCCEEDED
        if isinstance(follows, TryAgain):
            values["due_at"] = moment + follows.in_s
        latest = deliveries.c.number == claimed.number, deliveries.c.attempts == claimed.attempt
        return connection.execute(sa.update(deliveries).where(*latest).values(values)).rowcount == 1

    def _mark(self, connection: Connection, claimed: Claimed, failing_since: float | None) -> None:
        of_webhook = webhooks.c.number == claimed.webhook_number
        connection.execute(sa.update(webhooks).where(of_webhook).values(failing_since=failing_since))

    # ------------------------------------------------------------ what is no longer needed
    def prune(self) -> int:
        """Removes what has ended, where it is old, or more than is kept of one webhook; tells how many."""
        with self._database.reading() as connection:
            oldest_kept = since_1970(connection.execute(sa.select(self._time)).scalar_one() - KEEPS_S)
            lasts = {number: _beyond(connection, number, KEEPS, ENDED).last for number in _all(connection)}
        removed = 0
        for number, last in lasts.items():
            old, many = deliveries.c.created_at < oldest_kept, deliveries.c.number <= (last or 0)
            gone = sa.delete(deliveries).where(deliveries.c.webhook_number == number, ENDED, sa.or_(old, many))
            with self._database.writing() as connection:
                removed += connection.execute(gone).rowcount
        self._forget_payloads()
        return removed

    def give_up(self) -> int:
        """Gives up the oldest of those that wait, where they are more than may wait for one webhook, or longer; tells
        how many. Moves do not look how many there are: to be counted for each webhook by each move takes too long."""
        with self._database.reading() as connection:
            found = {number: _beyond(connection, number, MOST_WAIT, WAIT) for number in _all(connection, TOO_MANY)}
        given_up = 0
        for number, beyond in found.items():
            of_webhook = deliveries.c.webhook_number == number
            oldest = of_webhook, WAIT, deliveries.c.number <= beyond.last
            error = f"given up: {beyond.fewer:,} newer events wait for this webhook"
            if beyond.fewer < MOST_WAIT:
                error += f", and of more than {MOST_BYTES >> 20} MiB the newest are kept"
            with self._database.writing() as connection:
                told = sa.update(deliveries).where(*oldest).values(state=FAILED, error=error)
                given_up += connection.execute(told).rowcount
                last = _beyond(connection, number, KEEPS, ENDED).last or 0
                connection.execute(sa.delete(deliveries).where(of_webhook, ENDED, deliveries.c.number <= last))
        if given_up:
            self._forget_payloads()
        return given_up

    def _forget_payloads(self) -> None:
        """Removes those that no delivery carries any more: none ever will, as both are written together."""
        carried = sa.exists().where(deliveries.c.payload_id == payloads.c.id)
        unused = sa.select(payloads.c.id).where(~carried).limit(FORGETS_AT_ONCE)
        while True:
            with self._database.reading() as connection:
                ids = connection.scalars(unused).all()
            if not ids:
                return
            with self._database.writing() as connection:
                connection.execute(sa.delete(payloads).where(payloads.c.id.in_(ids)))


def _all(connection: Connection, *which: ColumnElement[bool]) -> Sequence[int]:
    """The numbers of webhooks."""
    return connection.scalars(sa.select(webhooks.c.number).where(*which)).all()


def _beyond(connection: Connection, webhook_number: int, most: int, which: ColumnElement[bool]) -> Row[Any]:
    """Of a webhook's deliveries of that sort: `last`, the number of the newest beyond the `most` newest, or beyond
    MOST_BYTES of these, null where there is none; and `fewer`, how many are newer."""
    newest_first = deliveries.c.number.desc()
    place = sa.func.row_number().over(order_by=newest_first).label("place")
    so_far = sa.func.sum(deliveries.c.payload_bytes).over(order_by=newest_first).label("so_far")
    each = sa.select(deliveries.c.number, place, so_far).where(deliveries.c.webhook_number == webhook_number, which)
    placed = each.subquery()
    is_beyond = sa.or_(placed.c.place > most, placed.c.so_far > MOST_BYTES)
    last = sa.func.max(sa.case((is_beyond, placed.c.number))).label("last")
    return connection.execute(sa.select(last, sa.func.count(sa.case((~is_beyond, 1))).label("fewer"))).one()


def disable(connection: Connection, webhook_number: int, why: str) -> None:
    """Nothing is sent to that webhook from now on; what waits has failed, and can be sent again by hand."""
    of_webhook = deliveries.c.webhook_number == webhook_number, deliveries.c.state == PENDING
    connection.execute(sa.update(webhooks).where(webhooks.c.number == webhook_number).values(disabled_because=why))
    told = {"state": FAILED, "error": f"the webhook is disabled: {why}"}
    connection.execute(sa.update(deliveries).where(*of_webhook).values(told))
