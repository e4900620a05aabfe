"""Where a client finds its key: what it was given, what the environment says, and for a local service the admin key."""

import json
import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["EXPECTED", "find_key", "read_key"]

EXPECTED = "expected one in CHAINRULE_API_KEY, in a file named by --key-file, or, beside a local service, its admin.key"
ADMIN_KEY = "admin.key"


def find_key(url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key for the service at `url`; None where there is none. The admin key of a local service is found only for
    an address of loopback, so that it is sent to nobody else."""
    given = environment.get("CHAINRULE_API_KEY")
    if given:
        return given.strip()
    if not is_loopback(url):
        return None
    return next((key for folder in _data_folders(url, environment) if (key := read_key(folder / ADMIN_KEY))), None)


def read_key(path: Path) -> str | None:
    """The key that a file holds; None where there is no such file, or not for us."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def is_loopback(url: str) -> bool:
    """Whether what is sent to `url` stays on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _data_folders(url: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where the service at `url` may keep its data: as it says itself, as the environment says, as is usual."""
    try:
        record = _state_folder(environment) / "chainrule" / "services" / f"{urlsplit(url).port or 80}.json"
        known = json.loads(record.read_text(encoding="utf-8"))
        os.kill(known["pid"], 0)  # else somebody else may listen at that port by now
        yield Path(known["data_dir"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        pass  # it was started by somebody else, or not on this machine, or its user has no home
    if environment.get("CHAINRULE_DATA_DIR"):
        yield Path(environment["CHAINRULE_DATA_DIR"])
    yield Path("data")


def _state_folder(environment: Mapping[str, str]) -> Path:
    """Where programs of this user keep what outlives them, as the XDG base directory specification says."""
    given = environment.get("XDG_STATE_HOME")
    return Path(given) if given and Path(given).is_absolute() else Path.home() / ".local" / "state"
