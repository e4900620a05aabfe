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
from service.database import Database, DatabaseTime, deliveries, jobs, webhooks
from service.webhooks.events import PING, data_of, envelope, event_of, wants
from service.webhooks.retries import Answer, Done, GiveUp, TryAgain, after_attempt
from shared.errors import Conflict

__all__ = [
    "AT_ONCE",
    "KEEPS",
    "KEEPS_S",
    "LEASE_S",
    "LOOK_AHEAD",
    "MOST_BY_HAND",
    "MOST_WAIT",
    "PENDING",
    "PER_HOST",
    "PER_TENANT",
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
ENDED = deliveries.c.state != PENDING
LEASE_S = 90.0  # longer than an attempt, with a name that resolves slowly and a database that is away for a while
AT_ONCE, PER_TENANT, PER_HOST = 64, 8, 2
LOOK_AHEAD = 200  # webhooks
MOST_BY_HAND = 100  # pings and deliveries sent again that wait, a webhook
MOST_WAIT = 10_000  # events of a webhook, of which the newest are the ones that are still of use
KEEPS_S = 30 * 24 * 3600
KEEPS = 1_000  # of those that have ended, a webhook


# ---------------------------------------------------------------- written with the move
TO_BE_TOLD = (
    sa.select(webhooks.c.tenant, webhooks.c.number, webhooks.c.events, webhooks.c.labels)
    .where(webhooks.c.tenant.in_(sa.bindparam("tenants", expanding=True)), webhooks.c.disabled_because.is_(None))
    .with_for_update(read=True, key_share=True)
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
        labels = job.plan["spec"]["labels"]
        wanted = [each.number for each in found if each.tenant == job.tenant and wants(each, event, labels)]
        if wanted:
            now = connection.execute(sa.select(jobs).where(jobs.c.number == job.number)).one()
            payload = envelope(event, told["at"], data_of(now, labels, seq, told))
            connection.execute(sa.insert(deliveries), [_new(number, event, payload, told["at"]) for number in wanted])


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
    made = sa.insert(deliveries).values(_new(webhook_number, event, payload, moment))
    return connection.execute(made.returning(deliveries)).one()


def _new(webhook_number: int, event: str, payload: str, moment: str) -> dict[str, Any]:
    row = {"id": f"dlv_{ULID()}", "webhook_number": webhook_number, "event": event, "payload": payload}
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
        ours = {name: getattr(row, name) for name in ("number", "id", "payload", "retries", "webhook_number")}
        theirs = ("url", "host", "tenant", "generation", "secret_sha256", "old_secret_until")
        return Claimed(
            attempt=row.attempts,
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
            bounds = connection.execute(sa.select(webhooks.c.number, _beyond(KEEPS, ENDED).label("last"))).all()
        removed = 0
        for webhook in bounds:
            old = sa.and_(deliveries.c.created_at < oldest_kept, deliveries.c.webhook_number == webhook.number)
            many = sa.and_(deliveries.c.number <= (webhook.last or 0), deliveries.c.webhook_number == webhook.number)
            with self._database.writing() as connection:
                gone = sa.delete(deliveries).where(deliveries.c.state != PENDING, sa.or_(old, many))
                removed += connection.execute(gone).rowcount
        return removed

    def give_up(self) -> int:
        """Gives up the oldest of those that wait, where they are more than may wait for one webhook; tells how many.
        Moves do not look how many there are: to be counted for each webhook by each move takes too long."""
        surplus = _beyond(MOST_WAIT, deliveries.c.state == PENDING).label("last")
        with self._database.reading() as connection:
            found = connection.execute(sa.select(webhooks.c.number, surplus)).all()
        given_up = 0
        for webhook in found:
            if webhook.last is None:
                continue
            of_webhook = deliveries.c.webhook_number == webhook.number
            oldest = of_webhook, deliveries.c.state == PENDING, deliveries.c.number <= webhook.last
            told = {"state": FAILED, "error": f"given up: {MOST_WAIT:,} newer events wait for this webhook"}
            ended = sa.select(deliveries.c.number).where(of_webhook, ENDED).order_by(deliveries.c.number.desc())
            with self._database.writing() as connection:
                given_up += connection.execute(sa.update(deliveries).where(*oldest).values(told)).rowcount
                last = connection.scalar(ended.offset(KEEPS).limit(1)) or 0
                connection.execute(sa.delete(deliveries).where(of_webhook, ENDED, deliveries.c.number <= last))
        return given_up


def _beyond(most: int, which: ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    """Of a webhook's deliveries of that sort, the number of the newest beyond the `most` newest; null where there is
    none."""
    found = sa.select(deliveries.c.number).where(deliveries.c.webhook_number == webhooks.c.number, which)
    return found.order_by(deliveries.c.number.desc()).offset(most).limit(1).scalar_subquery()


def disable(connection: Connection, webhook_number: int, why: str) -> None:
    """Nothing is sent to that webhook from now on; what waits has failed, and can be sent again by hand."""
    of_webhook = deliveries.c.webhook_number == webhook_number, deliveries.c.state == PENDING
    connection.execute(sa.update(webhooks).where(webhooks.c.number == webhook_number).values(disabled_because=why))
    told = {"state": FAILED, "error": f"the webhook is disabled: {why}"}
    connection.execute(sa.update(deliveries).where(*of_webhook).values(told))
