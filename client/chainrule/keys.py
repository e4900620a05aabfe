"""Where a client finds its key: what it was given, what the environment says, and for a local service the admin key."""

import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from chainrule.errors import InvalidInput
from chainrule.local import local_services

__all__ = ["EXPECTED", "find_key", "key_of", "read_key"]

EXPECTED = "expected one in CHAINRULE_API_KEY, in a file named by --key-file, or, beside a local service, its admin.key"
ADMIN_KEY = "admin.key"
_KEY = re.compile(r"[!-~]+")  # what a header takes; anything else would be told in full by whoever refuses it


def find_key(url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key for the service at `url`; None where there is none. The admin key of a local service is found only for
    an address of loopback, so that it is sent to nobody else. Raises InvalidInput where the environment has something
    else than a key."""
    given = environment.get("CHAINRULE_API_KEY", "").strip()
    if given:
        return key_of(given, "CHAINRULE_API_KEY")
    if not is_loopback(url):
        return None
    return next((key for folder in _data_folders(url, environment) if (key := read_key(folder / ADMIN_KEY))), None)


def key_of(text: str, field: str = "key") -> str:
    """The key that a text is, as whoever read it from a file has it. Raises InvalidInput, which does not repeat it."""
    key = text.strip()
    if not _KEY.fullmatch(key):
        expected = "a key alone: letters, digits and signs of ASCII, and no spaces between them"
        raise InvalidInput.of(field, "something else, which is not repeated here" if key else "nothing", expected)
    return key


def read_key(path: Path) -> str | None:
    """The key that a file holds, alone; None where there is no such file, or not for us, or something else in it."""
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return key if _KEY.fullmatch(key) else None


def is_loopback(url: str) -> bool:
    """Whether what is sent to `url` stays on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _data_folders(url: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where the service at `url` may keep its data: as it says itself, as the environment says, as is usual."""
    service = local_services(environment).get(_port(url))
    if service is not None:  # else it was started by somebody else, or not on this machine
        yield service.data_dir
    if environment.get("CHAINRULE_DATA_DIR"):
        yield Path(environment["CHAINRULE_DATA_DIR"])
    yield Path("data")


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 80
    except ValueError:
        return 0  # no port that there is
