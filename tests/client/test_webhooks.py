"""`client.webhooks` speaks to the service as its methods say."""

import asyncio

import pytest

from chainrule import AsyncClient, Client, NotFound
from support.fake_service import FakeService


def test_webhooks_are_made_changed_tried_and_removed(client: Client, service: FakeService) -> None:
    made = client.webhooks.create("https://example.com", ["job.failed"], labels={"team": "a"}, description="x")
    assert (made.url, made.events, made.labels, made.secret) == (
        "https://example.com", ["job.failed"], {"team": "a"}, "whsec_c2VjcmV0",
    )  # fmt: skip
    assert "whsec" not in repr(made)
    assert [each.id for each in client.webhooks.list(limit=5)] == [made.id]
    changed = client.webhooks.update(made.id, enabled=False)
    assert (changed.enabled, changed.disabled_reason) == (False, "by request")
    assert client.webhooks.get(made.id).labels == {"team": "a"}
    rotated = client.webhooks.rotate_secret(made.id)
    assert (rotated.secret, rotated.old_secret_until and rotated.old_secret_until.day) == ("whsec_bmV3", 24)
    ping = client.webhooks.ping(made.id)
    assert (ping.state, ping.payload["type"]) == ("pending", "ping")
    assert [each.id for each in client.webhooks.deliveries(made.id, state="pending")] == [ping.id]
    client.webhooks.redeliver(made.id, ping.id)
    assert service.requests[-1].url.path == f"/v1/webhooks/{made.id}/deliveries/{ping.id}/redeliver"
    client.webhooks.delete(made.id)
    with pytest.raises(NotFound):
        client.webhooks.get("wh_1/../../jobs")
    assert service.requests[-1].url.raw_path == b"/v1/webhooks/wh_1%2F..%2F..%2Fjobs"


def test_the_asynchronous_client_has_them_too(service: FakeService) -> None:
    async def make() -> str:
        async with AsyncClient("http://service", transport=service.async_transport()) as client:
            await client.webhooks.create("https://example.com")
            return (await client.webhooks.list()).items[0].url

    assert asyncio.run(make()) == "https://example.com"
