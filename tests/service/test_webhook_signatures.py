"""Signatures are those of the Standard Webhooks specification; secrets follow from the service's own, and differ."""

import base64

from service.webhooks.signatures import digest, secret_of, sign


def test_a_signature_is_the_specifications_own() -> None:
    """The example that the reference libraries of standardwebhooks.com test themselves with."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_webhook_and_each_change_has_a_secret_of_its_own() -> None:
    made = [secret_of(master, webhook, count) for master in (b"a", b"b") for webhook in ("1", "2") for count in (1, 2)]
    assert len(set(made)) == len({digest(each) for each in made}) == 8
    assert secret_of(b"a", "1", 1) == made[0]
    assert all(len(base64.b64decode(each.removeprefix("whsec_"), validate=True)) == 32 for each in made)
