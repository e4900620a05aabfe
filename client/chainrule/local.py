"""The services that run on this machine: where a client finds the one that it is meant for when nothing is said."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chainrule.errors import InvalidInput

__all__ = ["DEFAULT_URL", "LocalService", "find_url", "local_services"]

DEFAULT_PORT = 8400
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True)
class LocalService:
    """A service of this user that runs, as it has noted itself."""

    url: str
    data_dir: Path


def local_services(environment: Mapping[str, str] = os.environ) -> dict[int, LocalService]:
    """Those that run, by their ports. What was started by another user, or elsewhere, is not noted here."""
    try:
        records = list((_state_folder(environment) / "chainrule" / "services").glob("*.json"))
    except (OSError, RuntimeError):  # or the user has no home
        return {}
    found = {record.stem: _running(record) for record in records if record.stem.isdecimal()}
    return {int(port): service for port, service in sorted(found.items()) if service is not None}


def find_url(environment: Mapping[str, str] = os.environ) -> str:
    """Where the service is: as the environment says, else at the usual port, or at the one where the only one runs.

    Raises InvalidInput where several run, and none of them at the usual port.
    """
    if environment.get("CHAINRULE_URL"):
        return environment["CHAINRULE_URL"]
    services = local_services(environment)
    if DEFAULT_PORT in services:
        return services[DEFAULT_PORT].url
    urls = [service.url for service in services.values()]
    if len(urls) > 1:
        expected = f"one of the services that run here, in CHAINRULE_URL, --url or Client(url): {', '.join(urls)}"
        raise InvalidInput.of("url", None, expected)
    return urls[0] if urls else DEFAULT_URL


def _running(record: Path) -> LocalService | None:
    """The service that made the record; None once its process has ended."""
    try:
        noted = json.loads(record.read_text(encoding="utf-8"))
        os.kill(noted["pid"], 0)  # else somebody else may listen at that port by now
        return LocalService(str(noted["url"]), Path(noted["data_dir"]))
    except (OSError, OverflowError, ValueError, KeyError, TypeError):
        return None


def _state_folder(environment: Mapping[str, str]) -> Path:
    """Where programs of this user keep what outlives them, as the XDG base directory specification says."""
    given = environment.get("XDG_STATE_HOME")
    return Path(given) if given and Path(given).is_absolute() else Path.home() / ".local" / "state"
