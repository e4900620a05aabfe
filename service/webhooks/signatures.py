"""Secrets and signatures, as the Standard Webhooks specification 1.0 has them (https://www.standardwebhooks.com).

A secret is no row of the database, but follows from the service's own secret, which lies in a file of the data folder,
from the webhook's id and from a number that counts how often it was changed. So a copy of the database signs nothing.
"""

import base64
import hashlib
import hmac

__all__ = ["PREFIX", "digest", "secret_of", "sign"]

PREFIX = "whsec_"


def secret_of(master: bytes, webhook_id: str, generation: int) -> str:
    """The secret of a webhook, as its receiver is told it: `whsec_` and 32 bytes in base64."""
    key = hmac.digest(master, f"{webhook_id}.{generation}".encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(key).decode()


def digest(secret: str) -> str:
    """What the database keeps of a secret, to find out that the service's own is not the one it was made with."""
    return hashlib.sha256(secret.encode()).hexdigest()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of `message_id.timestamp.body` in base64; `timestamp` in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
