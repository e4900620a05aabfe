"""For receivers of webhooks: whether the service has sent what came."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from chainrule.errors import InvalidSignature

__all__ = ["TOLERANCE_S", "verify_webhook"]

TOLERANCE_S = 300.0
PREFIX = "whsec_"


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_s: float = TOLERANCE_S,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """The event that a webhook tells of, if the service has sent it, within `tolerance_s` of now.

    Args:
        body: as it came, before anything has parsed it.
        headers: as they came, in any case; `webhook-id`, `webhook-timestamp` and `webhook-signature` are looked at.
        secret: what the service told when the webhook was made, `whsec_…`.

    Raises InvalidSignature; ValueError for what is no secret. As the Standard Webhooks specification 1.0 says
    (https://www.standardwebhooks.com), whose libraries do the same.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, signatures = (_header(sent, name) for name in ("id", "timestamp", "signature"))
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise InvalidSignature(f"got webhook-timestamp {timestamp[:30]!r}, expected seconds since 1970")
    away_s = abs(clock() - int(timestamp))
    if away_s > tolerance_s:
        raise InvalidSignature(f"got a timestamp {away_s:.0f} s from now, expected at most {tolerance_s:g} s")
    raw = body.encode() if isinstance(body, str) else bytes(body)
    signed = f"{message_id}.{timestamp}.".encode() + raw
    expected = b"v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256))
    given = [each.encode("utf-8", "replace") for each in signatures.split(" ")]
    if not any(hmac.compare_digest(each, expected) for each in given):
        raise InvalidSignature("got no signature that this secret makes of the body as it came")
    event: dict[str, Any] = json.loads(raw)
    return event


def _header(sent: Mapping[str, str], name: str) -> str:
    value = sent.get(f"webhook-{name}")
    if not value:
        raise InvalidSignature(f"got no header webhook-{name}")
    return value


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("got what is no secret of a webhook, expected whsec_… as the service told it")
    return key
