"""Where a webhook may go: its URL taken apart once and for all, the hosts that are allowed, the addresses that may be
reached. Decisions only; `service.webhooks.sender` resolves names and connects."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from shared.errors import ChainruleError, InvalidInput

__all__ = ["ANY_HOST", "MAX_URL", "AddressRefused", "Rules", "Target", "is_private", "is_public"]

ANY_HOST = "*"
MAX_URL = 2048
WHOLE_URL = re.compile(r"[!-~]+")  # printable ASCII: what urlsplit would drop or rewrite does not get that far
NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
PORTS = {"https": 443, "http": 80}
LOWEST_FREE_PORT = 1024  # below are services of systems: mail, DNS, directories

Address = IPv4Address | IPv6Address

# What the clouds tell a machine about itself, credentials included: addresses that no webhook has business with, also
# those that look private (AWS and Google over IPv6, Alibaba) or public (Azure).
METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")))
PRIVATE = [
    ip_network(each)
    for each in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
]
UNICAST = ip_network("2000::/3")  # of IPv6, all that is given out for the internet
# Not machines on the internet, though Python's ipaddress says so of some of them.
NOT_FOR_USE = [ip_network(each) for each in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")]
NAT64, TEREDO, SIX_TO_FOUR = map(ip_network, ("64:ff9b::/96", "2001::/32", "2002::/16"))


class AddressRefused(ChainruleError):
    """A host that may be asked for is at an address that may not be reached."""


@dataclass(frozen=True)
class Target:
    """A URL, taken apart. What is checked and what is connected to are these very parts, so that no second parser can
    read the URL in another way."""

    scheme: str
    host: str
    """A name or an address, in lower case, without brackets."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """Host and port: those who share it share a receiver."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Rules:
    """What whoever runs the service allows."""

    hosts: Sequence[str] = (ANY_HOST,)
    """Names or addresses; `*.example.com` is every name below that one, `*` every host."""
    private: bool = False
    """Whether hosts at private addresses may be reached, also without TLS."""

    def target(self, url: str) -> Target:
        """The URL, taken apart. Raises InvalidInput where it is none, or goes to where nothing may go."""
        if len(url) > MAX_URL or not WHOLE_URL.fullmatch(url):
            raise _wrong(url, f"a URL of at most {MAX_URL:,} characters of ASCII, all others percent-encoded")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise _wrong(url, "a URL such as https://example.com/hooks") from None
        schemes = ("https", "http") if self.private else ("https",)
        if parts.scheme not in schemes:
            unless = (
                "" if self.private else " (http only where the service allows private addresses: --webhook-private)"
            )
            raise _wrong(url, f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}{unless}")
        if parts.username is not None or parts.password is not None:
            raise _wrong("(a URL with credentials)", "a URL without user and password, which logs would keep")
        if parts.fragment or "#" in url:
            raise _wrong(url, "a URL without a fragment, which is never sent")
        port = PORTS[parts.scheme] if port is None else port
        if port < LOWEST_FREE_PORT and port not in PORTS.values():
            raise _wrong(url, f"port 443, port 80, or one of at least {LOWEST_FREE_PORT:,}")
        target = Target(parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        self._check_host(url, target)
        return target

    def _check_host(self, url: str, target: Target) -> None:
        address = _literal(target.host)
        if address is None and (not NAME.fullmatch(target.host) or target.host.rpartition(".")[2].isdigit()):
            raise _wrong(url, "a host name in ASCII, or an address such as 192.0.2.1 or [2001:db8::1]")
        if not any(_fits(target.host, pattern.lower()) for pattern in self.hosts):
            raise _wrong(url, f"a host that this service may send webhooks to: {', '.join(self.hosts)}")
        if address is not None and not self.allows(target.scheme, address):
            raise _wrong(url, self._expected())

    def check(self, target: Target, addresses: Sequence[str]) -> Sequence[str]:
        """The addresses, all of which may be reached. Raises AddressRefused if one may not; the message does not say
        which, as it is for users, to whom the names of an internal network are no business."""
        if not addresses or not all(self.allows(target.scheme, ip_address(each)) for each in addresses):
            raise AddressRefused(f"{target.host} is at an address that may not be reached: expected {self._expected()}")
        return addresses

    def allows(self, scheme: str, address: Address) -> bool:
        """Whether this address may be reached: private ones only where that is allowed, and without TLS only those."""
        return (scheme == "https" and is_public(address)) or (self.private and is_private(address))

    def _expected(self) -> str:
        return (
            "a public address by https, or a private one, which is none of a link or of a cloud's metadata"
            if self.private
            else "a public address"
        )


def is_public(address: Address) -> bool:
    """Whether it is one machine's on the internet, also where it is an IPv4 address in an IPv6 one's clothes."""
    within = _within(address)
    if within is not None:
        return is_public(within)
    if address in METADATA or any(address.version == net.version and address in net for net in NOT_FOR_USE):
        return False
    if isinstance(address, IPv6Address):
        if address not in UNICAST or address in TEREDO or address in SIX_TO_FOUR:
            return False
    elif address.is_reserved:
        return False
    return address.is_global and not address.is_multicast


def is_private(address: Address) -> bool:
    """Whether it is one of loopback or of a network of one's own; those of a link alone, at which clouds have their
    metadata, are not meant."""
    within = _within(address)
    if within is not None:
        return is_private(within)
    return address not in METADATA and any(address.version == net.version and address in net for net in PRIVATE)


def _within(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, or by a translator (NAT64, RFC 6052)."""
    if isinstance(address, IPv4Address):
        return None
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address.ipv4_mapped


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _fits(host: str, pattern: str) -> bool:
    if pattern == ANY_HOST:
        return True
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern.strip("[]")


def _wrong(got: str, expected: str) -> InvalidInput:
    return InvalidInput.of("url", got, expected)
