"""Webhooks go to hosts and addresses that are allowed, and to no others."""

import pytest

from service.webhooks.targets import AddressRefused, Rules, Target, is_private, is_public
from shared.errors import InvalidInput

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
OWN = ["127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1"]
OWN += ["fc00::1", "fd12::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"]
NEVER = ["169.254.169.254", "169.254.0.1", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"]
NEVER += ["fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1"]
NEVER += ["239.255.255.250", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1"]
NEVER += ["192.88.99.1", "2002:7f00:1::1", "2002:808:808::1", "2001::1", "2001:db8::1", "3fff::1", "fec0::1", "ff02::1"]
NEVER += ["64:ff9b:1::7f00:1", "::127.0.0.1", "::808:808", "100::1", "5f00::1", "::ffff:0:0"]


@pytest.mark.parametrize("address", PUBLIC + OWN + NEVER)
def test_an_address_is_public_or_private_or_never_reached(address: str) -> None:
    target = Target("https", "a.example", 443, "/")
    for private in (False, True):
        rules = Rules(private=private)
        if address in PUBLIC or (private and address in OWN):
            assert rules.check(target, [address]) == [address]
        else:
            with pytest.raises(AddressRefused) as refused:
                rules.check(target, [address])
            assert address not in str(refused.value)


def test_of_several_addresses_all_must_be_allowed() -> None:
    target = Target("https", "a.example", 443, "/")
    for addresses in (["8.8.8.8", "127.0.0.1"], ["10.0.0.1", "8.8.8.8"], []):
        with pytest.raises(AddressRefused):
            Rules().check(target, addresses)


def test_without_tls_only_private_addresses_are_reached() -> None:
    rules = Rules(private=True)
    assert rules.check(Target("http", "a.example", 80, "/"), ["10.0.0.1"])
    with pytest.raises(AddressRefused):
        rules.check(Target("http", "a.example", 80, "/"), ["8.8.8.8"])


def test_a_url_is_taken_apart() -> None:
    rules = Rules()
    assert rules.target("https://Hooks.Example.com") == Target("https", "hooks.example.com", 443, "/")
    assert rules.target("https://a_b.example:8443/x/%C3%A4?y=1&z") == Target(
        "https", "a_b.example", 8443, "/x/%C3%A4?y=1&z"
    )
    assert rules.target("https://[2606:4700::1111]:8443/").authority == "[2606:4700::1111]:8443"
    assert Rules(private=True).target("http://127.0.0.1:8080/hook").authority == "127.0.0.1:8080"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://example.com",
        "example.com",
        "//example.com/x",
        "https://",
        "https:///x",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://:@example.com",
        "https://example.com#here",
        "https://example.com/a b",
        "https://example.com/\r\nHost: other",
        "https://exam\tple.com",
        "https://ex\u00e4mple.com",
        "https://example\u3002com",
        "https://example.com/\u00e4",
        "https://example.com:22",
        "https://example.com:0",
        "https://example.com:99999",
        "https://example.com:https",
        "https://example.com.",
        "https://-a.example",
        "https://a..example",
        "https://a%2eexample",
        "https://example.com\\@127.0.0.1/",
        "https://127.1",
        "https://2130706433",
        "https://0x7f.0.0.1",
        "https://017700000001",
        "https://127.0.0.1",
        "https://169.254.169.254/latest",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://[fe80::1%25eth0]",
        "https://[::1",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_what_is_no_url_for_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^url: got"):
        Rules().target(url)


def test_credentials_in_a_url_are_not_repeated() -> None:
    with pytest.raises(InvalidInput) as refused:
        Rules().target("https://user:hunter2@example.com")
    assert "hunter2" not in str(refused.value)


def test_only_hosts_that_are_named_may_be_asked_for() -> None:
    rules = Rules(("hooks.example.com", "*.Internal.example", "[2606:4700::1111]"))
    for host in ("hooks.example.com", "HOOKS.example.com", "a.internal.example", "a.b.internal.example"):
        assert rules.target(f"https://{host}/")
    assert rules.target("https://[2606:4700::1111]/")
    for host in ("example.com", "x.hooks.example.com", "internal.example", "evilinternal.example", "8.8.8.8"):
        with pytest.raises(InvalidInput, match="expected a host that this service may send webhooks to"):
            rules.target(f"https://{host}/")
    with pytest.raises(InvalidInput, match="expected a public address"):
        Rules(("127.0.0.1",)).target("https://127.0.0.1")


def test_public_and_private_have_nothing_in_common() -> None:
    from ipaddress import ip_address

    for address in map(ip_address, PUBLIC + OWN + NEVER):
        assert not (is_public(address) and is_private(address))
