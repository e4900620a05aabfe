"""A key has its form, its checksum and enough chance; of it, only a hash is kept."""

import re

import pytest
import sqlalchemy as sa

from service.credentials import MOST_TICKETS, REMEMBERED_S, Credentials, NewKeyRow
from service.database import Database, keys, sessions, signin_codes
from service.keys import Principal, Scope, digest, holds_key, id_of, make_key
from shared.errors import Conflict, Forbidden, NotFound, Unauthorized


class Clock:
    """Both clocks of the credentials, moved by hand."""

    def __init__(self) -> None:
        self.moment, self.seconds = "2026-11-24T12:00:00.000000Z", 0.0

    def credentials(self, database: Database) -> Credentials:
        return Credentials(database, lambda: self.moment, lambda: self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def credentials(database: Database, clock: Clock) -> Credentials:
    return clock.credentials(database)


def made(credentials: Credentials, scope: Scope = Scope.READ, **changes: str) -> tuple[str, str]:
    """The id and the text of a new key."""
    key, text = credentials.add_key(NewKeyRow("a key", scope, **changes))
    return key.id, text


# ---------------------------------------------------------------- the form of a key
def test_a_key_names_itself_and_has_190_random_bits() -> None:
    key = make_key()
    name, secret = re.fullmatch(r"chainrule_([0-9a-z]{8})_([0-9A-Za-z]{32})[0-9A-Za-z]{6}", key.text).groups()  # type: ignore[union-attr]
    assert (key.id, id_of(key.text)) == (f"key_{name}", key.id)
    assert 62 ** len(secret) > 2**190
    assert make_key().text != key.text


@pytest.mark.parametrize("place", range(0, 57))
def test_a_key_with_one_wrong_character_is_no_key(place: int) -> None:
    key = make_key().text
    wrong = "b" if key[place] == "a" else "a"
    assert id_of(key[:place] + wrong + key[place + 1 :]) is None
    assert id_of(key[:place]) is None


def test_the_checksum_is_crc_32_in_base_62() -> None:
    """CRC-32 of the rest is 3,104,510,980; its digits to the base of 62 are 3, 24, 6, 13, 7, 46."""
    assert id_of("chainrule_00000000_" + "0" * 32 + "3O6D7k") == "key_00000000"


def test_a_key_is_seen_wherever_it_stands() -> None:
    key = make_key().text
    assert holds_key(f"/v1/jobs?note=x{key}y")
    assert not holds_key(key[:-1])


def test_a_scope_implies_those_below_it() -> None:
    submitter = Principal("default", Scope.SUBMIT, "key_1", "")
    submitter.check(Scope.READ)
    submitter.check(Scope.SUBMIT)
    with pytest.raises(Forbidden, match="the key key_1 has the scope submit; this needs admin"):
        submitter.check(Scope.ADMIN)


# ---------------------------------------------------------------- keys in the database
def test_a_key_is_known_by_its_hash_alone(credentials: Credentials, database: Database) -> None:
    key_id, text = made(credentials, Scope.SUBMIT, tenant="risk")
    assert credentials.holder_of_key(text) == Principal("risk", Scope.SUBMIT, key_id, "a key")
    with database.reading() as connection:
        (row,) = connection.execute(sa.select(keys)).all()
    assert row.sha256 == digest(text)
    assert not any(text[-38:] in str(value) for value in row)


def test_a_key_of_another_secret_is_not_known(credentials: Credentials) -> None:
    stranger = make_key().text
    with pytest.raises(Unauthorized, match="not known"):
        credentials.holder_of_key(stranger)
    with pytest.raises(Unauthorized, match="its checksum is wrong"):
        credentials.holder_of_key(stranger[:-1])


def test_a_key_ends_when_it_expires(credentials: Credentials, clock: Clock) -> None:
    _, text = made(credentials, expires_at="2026-11-24T12:00:01.000000Z")
    assert credentials.holder_of_key(text)
    clock.moment = "2026-11-24T12:00:01.000000Z"
    with pytest.raises(Unauthorized, match="expired at 2026-11-24T12:00:01"):
        credentials.holder_of_key(text)


def test_a_check_is_remembered_for_half_a_second_and_no_longer(credentials: Credentials, clock: Clock) -> None:
    _, text = made(credentials)
    assert credentials.remembered(text) is None
    holder = credentials.holder_of_key(text)
    clock.seconds = REMEMBERED_S - 0.01
    assert credentials.remembered(text) == holder
    clock.seconds = REMEMBERED_S
    assert credentials.remembered(text) is None
    assert REMEMBERED_S < 1


def test_a_revocation_is_heeded_here_at_once_and_elsewhere_within_a_second(database: Database, clock: Clock) -> None:
    here, elsewhere = clock.credentials(database), clock.credentials(database)
    made(here, Scope.ADMIN)
    key_id, text = made(here)
    for credentials in (here, elsewhere):
        credentials.holder_of_key(text)
    here.revoke(key_id)
    assert here.remembered(text) is None
    clock.seconds = 1.0
    assert elsewhere.remembered(text) is None
    with pytest.raises(Unauthorized, match=f"{key_id} was revoked at 2026-11-24"):
        elsewhere.holder_of_key(text)


def test_the_last_good_admin_key_cannot_be_revoked(credentials: Credentials, clock: Clock) -> None:
    first, _ = made(credentials, Scope.ADMIN)
    second, _ = made(credentials, Scope.ADMIN, expires_at="2026-11-24T13:00:00.000000Z")
    clock.moment = "2026-11-24T14:00:00.000000Z"
    with pytest.raises(Conflict, match=f"{first} is the last admin key"):
        credentials.revoke(first)
    third, text = made(credentials, Scope.ADMIN)
    for key_id in (first, first, second):
        credentials.revoke(key_id)
    with pytest.raises(Conflict):
        credentials.revoke(third)
    assert credentials.holder_of_key(text).key_id == third
    with pytest.raises(NotFound):
        credentials.revoke("key_nobody00")


def test_a_service_without_a_good_admin_key_makes_one_and_only_then(credentials: Credentials) -> None:
    published: list[str] = []
    for _ in range(2):
        credentials.keep_one_admin(published.append)
    (text,) = published
    assert credentials.holder_of_key(text).scope is Scope.ADMIN


def test_a_first_key_that_cannot_be_published_is_not_made(credentials: Credentials) -> None:
    def full(_: str) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        credentials.keep_one_admin(full)
    assert credentials.list_keys(None, 10) == []


# ---------------------------------------------------------------- sessions
def test_a_code_opens_one_session_in_the_name_of_its_key(credentials: Credentials) -> None:
    key_id, _ = made(credentials, tenant="risk")
    code = credentials.signin_code(key_id).secret
    session = credentials.redeem(code)
    assert credentials.holder_of_session(session.secret) == Principal("risk", Scope.READ, key_id, "a key")
    with pytest.raises(Unauthorized, match="used up or over"):
        credentials.redeem(code)


def test_what_is_no_code_waits_for_no_writer_and_keeps_none_waiting(
    credentials: Credentials, database: Database
) -> None:
    with database.writing(), pytest.raises(Unauthorized, match="used up or over"):
        credentials.redeem("no code")


def test_a_code_lasts_ten_minutes_and_a_session_twelve_hours(credentials: Credentials, clock: Clock) -> None:
    key_id, _ = made(credentials)
    codes = [credentials.signin_code(key_id) for _ in range(2)]
    assert codes[0].expires_at == "2026-11-24T12:10:00.000000Z"
    clock.moment = "2026-11-24T12:09:59.000000Z"
    session = credentials.redeem(codes[0].secret)
    clock.moment = "2026-11-24T12:10:00.000000Z"
    with pytest.raises(Unauthorized):
        credentials.redeem(codes[1].secret)
    assert session.expires_at == "2026-11-25T00:09:59.000000Z"
    clock.moment = session.expires_at
    with pytest.raises(Unauthorized, match="sign in again"):
        credentials.holder_of_session(session.secret)


def test_revoking_a_key_ends_its_sessions_and_codes(credentials: Credentials) -> None:
    made(credentials, Scope.ADMIN)
    key_id, _ = made(credentials)
    session, code = credentials.open_session(key_id), credentials.signin_code(key_id)
    credentials.holder_of_session(session.secret)
    assert credentials.remembered(session.secret, is_session=True) is not None
    credentials.revoke(key_id)
    assert credentials.remembered(session.secret, is_session=True) is None
    with pytest.raises(Unauthorized):
        credentials.holder_of_session(session.secret)
    with pytest.raises(Unauthorized):
        credentials.redeem(code.secret)
    with pytest.raises(Unauthorized, match="no longer good"):
        credentials.open_session(key_id)


def test_a_session_that_is_closed_is_over(credentials: Credentials) -> None:
    key_id, _ = made(credentials)
    session = credentials.open_session(key_id)
    credentials.holder_of_session(session.secret)
    assert credentials.remembered(session.secret, is_session=True) is not None
    credentials.close_session(session.secret)
    assert credentials.remembered(session.secret, is_session=True) is None
    with pytest.raises(Unauthorized):
        credentials.holder_of_session(session.secret)


def test_what_has_expired_is_not_kept(credentials: Credentials, clock: Clock, database: Database) -> None:
    key_id, _ = made(credentials)
    for _ in range(3):
        credentials.open_session(key_id)
        credentials.signin_code(key_id)
    clock.moment = "2026-11-25T12:00:00.000000Z"
    credentials.open_session(key_id)
    credentials.signin_code(key_id)
    with database.reading() as connection:
        assert [len(connection.execute(sa.select(table)).all()) for table in (sessions, signin_codes)] == [1, 1]


def test_of_a_keys_many_sessions_and_codes_the_oldest_end(
    credentials: Credentials, clock: Clock, database: Database
) -> None:
    (key_id, _), (other, _) = made(credentials), made(credentials)
    theirs = credentials.open_session(other)
    tickets = []
    for second in range(MOST_TICKETS + 1):
        clock.moment = f"2026-11-24T12:{second // 60:02}:{second % 60:02}.000000Z"
        tickets.append((credentials.open_session(key_id), credentials.signin_code(key_id)))
    with database.reading() as connection:
        kept = [connection.scalar(sa.select(sa.func.count()).select_from(each)) for each in (sessions, signin_codes)]
    assert kept == [MOST_TICKETS + 1, MOST_TICKETS]
    for session, code in tickets[:1]:
        with pytest.raises(Unauthorized):
            credentials.holder_of_session(session.secret)
        with pytest.raises(Unauthorized):
            credentials.redeem(code.secret)
    assert credentials.holder_of_session(tickets[1][0].secret).key_id == key_id
    assert credentials.holder_of_session(theirs.secret).key_id == other
