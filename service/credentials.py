"""What opens the service, kept in the database as hashes: keys, and the sessions and sign-in codes that they gave.

All control planes of a database share them. A check is remembered for half a second, so that it costs no query, and a
revocation is heeded everywhere within a second.
"""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from service.clock import later, now
from service.database import DEFAULT_TENANT, Database, keys, sessions, signin_codes, tenants
from service.keys import Principal, Scope, digest, id_of, make_key
from shared.errors import Conflict, NotFound, Unauthorized

__all__ = ["MOST_TICKETS", "SESSION_S", "Credentials", "KeyRow", "NewKeyRow", "Ticket"]

REMEMBERED_S = 0.5
MAX_REMEMBERED = 10_000
SESSION_S = 12 * 3600
CODE_S = 600
MOST_TICKETS = 100  # sessions, and codes, of a key: whoever has it can open as many as they like
WRONG_KEY = "the key is not known: got one that was never made, or another service's"

KeyRow = Row[Any]


@dataclass(frozen=True)
class NewKeyRow:
    """A key to be made."""

    name: str
    scope: Scope
    tenant: str = DEFAULT_TENANT
    expires_at: str | None = None


class Ticket(NamedTuple):
    """A session or a sign-in code: a secret that is told once, and when it ends."""

    secret: str
    expires_at: str


class Credentials:
    """Keys, sessions and sign-in codes. `clock` tells the time by which they expire."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], str] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._clock, self._monotonic = database, clock, monotonic
        self._lock = threading.Lock()
        self._remembered: dict[tuple[bool, str], tuple[Principal, float]] = {}

    # ------------------------------------------------------------ who asks
    def remembered(self, secret: str, *, is_session: bool = False) -> Principal | None:
        """Who holds this key, or this session, if that was found out a moment ago; asks nobody."""
        known = self._remembered.get((is_session, digest(secret)))
        return known[0] if known is not None and self._monotonic() < known[1] else None

    def holder_of_key(self, text: str) -> Principal:
        """Who holds the key. Raises Unauthorized."""
        key_id = id_of(text)
        if key_id is None:
            raise Unauthorized("got what is no key: its checksum is wrong; it may be mistyped, or cut off")
        began = self._monotonic()
        with self._database.reading() as connection:
            key = connection.execute(sa.select(keys).where(keys.c.id == key_id)).one_or_none()
        if key is None or not secrets.compare_digest(key.sha256, digest(text)):
            raise Unauthorized(WRONG_KEY)
        if key.revoked_at is not None:
            raise Unauthorized(f"the key {key.id} was revoked at {key.revoked_at}")
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise Unauthorized(f"the key {key.id} expired at {key.expires_at}")
        return self._remember((False, digest(text)), key, began)

    def holder_of_session(self, token: str) -> Principal:
        """Who holds the session, whose key is good. Raises Unauthorized."""
        began = self._monotonic()
        with self._database.reading() as connection:
            key = self._key_behind(connection, sessions, token)
        if key is None:
            raise Unauthorized("the session is over; sign in again")
        return self._remember((True, digest(token)), key, began)

    def _key_behind(self, connection: Connection, tickets: sa.Table, secret: str) -> KeyRow | None:
        """The key that gave a session or a code, if both are good still."""
        query = sa.select(keys).join(tickets).where(tickets.c.sha256 == digest(secret))
        return connection.execute(query.where(tickets.c.expires_at > self._clock(), self._good())).one_or_none()

    def _good(self) -> sa.ColumnElement[bool]:
        """Of keys: neither revoked nor expired."""
        lasts = sa.or_(keys.c.expires_at.is_(None), keys.c.expires_at > self._clock())
        return sa.and_(keys.c.revoked_at.is_(None), lasts)

    def _remember(self, shown: tuple[bool, str], key: KeyRow, began: float) -> Principal:
        """By whether it is a session, and its digest, from the moment before we asked: a revocation after it may have
        been overlooked."""
        principal = Principal(key.tenant, Scope(key.scope), key.id, key.name)
        with self._lock:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[shown] = principal, began + REMEMBERED_S
        return principal

    def _forget(self) -> None:
        with self._lock:
            self._remembered.clear()

    # ------------------------------------------------------------ keys
    def add_key(self, new: NewKeyRow) -> tuple[KeyRow, str]:
        """Makes a key, and its tenant if that is new; returns it with its text, which is kept nowhere."""
        with self._database.writing() as connection:
            _hold(connection)
            return self._insert_key(connection, new)

    def _insert_key(self, connection: Connection, new: NewKeyRow) -> tuple[KeyRow, str]:
        moment, made = self._clock(), make_key()
        known = sa.select(tenants.c.name).where(tenants.c.name == new.tenant)
        if connection.execute(known).one_or_none() is None:
            connection.execute(sa.insert(tenants).values(name=new.tenant, created_at=moment))
        values = {
            "id": made.id,
            "tenant": new.tenant,
            "name": new.name,
            "scope": new.scope,
            "sha256": digest(made.text),
            "created_at": moment,
            "expires_at": new.expires_at,
        }
        return connection.execute(sa.insert(keys).values(values).returning(keys)).one(), made.text

    def keep_one_admin(self, publish: Callable[[str], None]) -> None:
        """Makes an admin key where there is no good one, and has it published before it is of use."""
        with self._database.writing() as connection:
            _hold(connection)
            if self._admin(connection) is None:
                _, text = self._insert_key(connection, NewKeyRow("admin", Scope.ADMIN))
                publish(text)

    def list_keys(self, before: int | None, limit: int) -> Sequence[KeyRow]:
        """Keys of all tenants, newest first, with a number below `before`; the revoked ones too."""
        query = sa.select(keys).order_by(keys.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(keys.c.number < before)
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def revoke(self, key_id: str) -> None:
        """Ends a key, and with it its sessions and codes. Repeating is harmless.

        Raises NotFound, or Conflict for the last good admin key: nobody could make another one.
        """
        with self._database.writing() as connection:
            _hold(connection)
            key = connection.execute(sa.select(keys).where(keys.c.id == key_id)).one_or_none()
            if key is None:
                raise NotFound(f"there is no key {ascii(key_id[:100])[1:-1]}")
            revoked_at = key.revoked_at or self._clock()
            connection.execute(sa.update(keys).where(keys.c.number == key.number).values(revoked_at=revoked_at))
            for tickets in (sessions, signin_codes):
                connection.execute(sa.delete(tickets).where(tickets.c.key_number == key.number))
            if self._admin(connection) is None:
                raise Conflict(f"{key.id} is the last admin key: make another one before you revoke it")
        self._forget()

    def _admin(self, connection: Connection) -> KeyRow | None:
        """The oldest good admin key."""
        query = sa.select(keys).where(keys.c.scope == Scope.ADMIN, self._good()).order_by(keys.c.number)
        return connection.execute(query.limit(1)).one_or_none()

    # ------------------------------------------------------------ sessions, and codes that open them
    def open_session(self, key_id: str) -> Ticket:
        """A session in the name of a good key."""
        return self._give(sessions, keys.c.id == key_id, SESSION_S)

    def signin_code(self, key_id: str) -> Ticket:
        """A code that opens one session in the name of a good key, within ten minutes."""
        return self._give(signin_codes, keys.c.id == key_id, CODE_S)

    def admin_signin_code(self) -> Ticket:
        """The same in the name of the oldest good admin key."""
        with self._database.reading() as connection:
            key = self._admin(connection)
        assert key is not None, "there is always one"
        return self.signin_code(key.id)

    def _give(self, tickets: sa.Table, which: sa.ColumnElement[bool], lasts_s: float) -> Ticket:
        with self._database.writing() as connection:
            key = connection.execute(sa.select(keys.c.number).where(which, self._good())).one_or_none()
            if key is None:
                raise Unauthorized("the key is no longer good")
            return self._insert_ticket(connection, tickets, key.number, lasts_s)

    def _insert_ticket(self, connection: Connection, tickets: sa.Table, key_number: int, lasts_s: float) -> Ticket:
        moment = self._clock()
        connection.execute(sa.delete(tickets).where(tickets.c.expires_at <= moment))
        ours = tickets.c.key_number == key_number
        newest = sa.select(tickets.c.sha256).where(ours).order_by(tickets.c.expires_at.desc())
        too_many = newest.offset(MOST_TICKETS - 1).scalar_subquery()
        connection.execute(sa.delete(tickets).where(tickets.c.sha256.in_(too_many)))
        ticket = Ticket(secrets.token_urlsafe(32), later(moment, lasts_s))
        values = {"sha256": digest(ticket.secret), "key_number": key_number, "expires_at": ticket.expires_at}
        connection.execute(sa.insert(tickets).values(values))
        return ticket

    def redeem(self, code: str) -> Ticket:
        """The session that a code opens; the code is used up. Raises Unauthorized.

        Anybody may send codes: what is none keeps nobody from writing.
        """
        refused = Unauthorized("the sign-in code is used up or over; make a new link: chainrule signin")
        with self._database.reading() as connection:
            if self._key_behind(connection, signin_codes, code) is None:
                raise refused
        used = sa.delete(signin_codes).where(signin_codes.c.sha256 == digest(code))
        with self._database.writing() as connection:
            key = self._key_behind(connection, signin_codes, code)
            if key is None or connection.execute(used).rowcount == 0:
                raise refused
            return self._insert_ticket(connection, sessions, key.number, SESSION_S)

    def close_session(self, token: str) -> None:
        """Ends a session. Repeating is harmless."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.sha256 == digest(token)))
        self._forget()


def _hold(connection: Connection) -> None:
    """Keeps others from changing keys until the transaction has ended: of two admins who revoke each other's key, the
    second one finds its own gone."""
    connection.execute(sa.select(tenants).where(tenants.c.name == DEFAULT_TENANT).with_for_update())
