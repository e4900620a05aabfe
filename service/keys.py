"""Keys: what one looks like, what it allows, and who has shown one.

A key is `chainrule_`, eight characters that name it, `_`, 32 random characters (190 bits), and a checksum of all that,
by which a mistyped key is told from an unknown one without asking the database.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from shared.errors import Forbidden

__all__ = ["NewKey", "Principal", "Scope", "digest", "holds_key", "id_of", "make_key"]

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
NAME_ALPHABET = string.digits + string.ascii_lowercase
NAME_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 32, 6  # 62^6 > 2^32
KEY = re.compile(r"(chainrule_([0-9a-z]{8})_[0-9A-Za-z]{32})([0-9A-Za-z]{6})")


class Scope(StrEnum):
    """What a key allows; each implies those before it."""

    READ = "read"
    """To see everything of its tenant, to plan, and to predict."""
    SUBMIT = "submit"
    """To add and remove the tenant's data sets and jobs, and to steer them."""
    ADMIN = "admin"
    """To make, list and revoke the keys of all tenants, and to set their quotas."""

    @property
    def implied(self) -> list["Scope"]:
        """Those before it, and itself."""
        return list(Scope)[: list(Scope).index(self) + 1]


@dataclass(frozen=True)
class Principal:
    """Who asks: the holder of a key, or of a session that a key has opened."""

    tenant: str
    scope: Scope
    key_id: str
    key_name: str

    def check(self, scope: Scope) -> None:
        """Raises Forbidden unless the key allows it."""
        if scope not in self.scope.implied:
            raise Forbidden(f"the key {self.key_id} has the scope {self.scope}; this needs {scope}")


class NewKey(NamedTuple):
    """A key that was just made; `text` is told once, and never kept."""

    id: str
    text: str


def make_key() -> NewKey:
    """A key that nobody has yet."""
    name = _random(NAME_ALPHABET, NAME_LENGTH)
    body = f"chainrule_{name}_{_random(ALPHABET, SECRET_LENGTH)}"
    return NewKey(f"key_{name}", body + _checksum(body))


def id_of(text: str) -> str | None:
    """The id of the key; None for what is not one: mistyped, cut off, or something else."""
    found = KEY.fullmatch(text)
    return f"key_{found[2]}" if found is not None and _checksum(found[1]) == found[3] else None


def holds_key(text: str) -> bool:
    """Whether a key stands anywhere in the text."""
    return KEY.search(text) is not None


def digest(secret: str) -> str:
    """What is kept of a secret. One round of SHA-256 is enough: slow hashes are for what people choose, and could be
    guessed; of 190 random bits nobody finds the hash again."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
