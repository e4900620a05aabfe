"""A receiver believes what the service has signed, a moment ago, and nothing else."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from chainrule import InvalidSignature, verify_webhook
from service.webhooks.signatures import secret_of, sign

# The example that the reference libraries of standardwebhooks.com test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
MOMENT = 1614265330
GOOD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
HEADERS = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": str(MOMENT), "webhook-signature": GOOD}


def verify(
    changes: Mapping[str, str] | None = None, body: bytes = BODY, at: float = MOMENT, secret: str = SECRET
) -> Any:
    return verify_webhook(body, {**HEADERS, **(changes or {})}, secret, clock=lambda: at)


def test_what_the_specification_signs_is_believed() -> None:
    assert verify() == {"test": 2432232314}
    assert verify_webhook(BODY.decode(), {k.title(): v for k, v in HEADERS.items()}, SECRET, clock=lambda: MOMENT)
    assert verify(secret=SECRET.removeprefix("whsec_"))


def test_one_good_signature_of_several_is_enough() -> None:
    assert verify({"webhook-signature": f"{OTHER} v1a,{GOOD[3:]} {GOOD} nonsense"})


def test_what_the_service_signs_is_believed() -> None:
    secret = secret_of(b"m" * 32, "wh_1", 1)
    headers = {"webhook-id": "dlv_1", "webhook-timestamp": "100"}
    signed = {**headers, "webhook-signature": sign(secret, "dlv_1", 100, b'{"type":"ping"}')}
    assert verify_webhook(b'{"type":"ping"}', signed, secret, clock=lambda: 100) == {"type": "ping"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"webhook-signature": OTHER}, "no signature that this secret makes"),
        ({"webhook-signature": GOOD[:20]}, "no signature that this secret makes"),
        ({"webhook-signature": f"v2,{GOOD[3:]}"}, "no signature that this secret makes"),
        ({"webhook-signature": "v1,"}, "no signature that this secret makes"),
        ({"webhook-signature": "ä\udc80"}, "no signature that this secret makes"),
        ({"webhook-id": "msg_other"}, "no signature that this secret makes"),
        ({"webhook-timestamp": str(MOMENT + 1)}, "no signature that this secret makes"),
        ({"webhook-timestamp": "soon"}, "got webhook-timestamp 'soon'"),
        ({"webhook-timestamp": "-5"}, "got webhook-timestamp '-5'"),
        ({"webhook-timestamp": "9" * 5000}, "got webhook-timestamp '999"),
        ({"webhook-id": ""}, "got no header webhook-id"),
        ({"webhook-signature": ""}, "got no header webhook-signature"),
    ],
)
def test_what_is_changed_or_missing_is_not_believed(changes: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidSignature, match=re.escape(why)):
        verify(changes)


def test_another_body_is_not_believed() -> None:
    with pytest.raises(InvalidSignature, match="the body as it came"):
        verify(body=BODY.replace(b" ", b""))


@pytest.mark.parametrize("away_s", [-301, 301])
def test_what_is_five_minutes_away_is_not_believed(away_s: int) -> None:
    assert verify(at=MOMENT + away_s * 299 / 301)
    with pytest.raises(InvalidSignature, match="got a timestamp 301 s from now, expected at most 300 s"):
        verify(at=MOMENT + away_s)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
def test_what_is_no_secret_is_the_receivers_own_mistake(secret: str) -> None:
    with pytest.raises(ValueError, match="no secret of a webhook"):
        verify(secret=secret)
