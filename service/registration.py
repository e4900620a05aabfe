"""Where a running service says which folder is its own, so that programs of the same user find its key."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["registered"]

log = logging.getLogger("chainrule")


@contextmanager
def registered(url: str, port: int, data_dir: Path) -> Iterator[None]:
    """Keeps a record of the service until it ends, which its user alone can read. It is of no harm if it cannot."""
    content = json.dumps({"url": url, "data_dir": str(data_dir.resolve()), "pid": os.getpid()})
    try:
        folder = _state_folder() / "chainrule" / "services"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear(folder)
        _write(folder / f"{port}.json", content)
    except (OSError, RuntimeError) as error:  # or the user has no home
        log.warning("where the service runs cannot be noted for its user's programs: %s", error)
        yield
        return
    try:
        yield
    finally:
        _remove(folder / f"{port}.json", content)


def _write(record: Path, content: str) -> None:
    record.unlink(missing_ok=True)
    record.touch(mode=0o600)
    record.write_text(content, encoding="utf-8")


def _clear(folder: Path) -> None:
    """Removes what services that were killed have left."""
    for record in folder.glob("*.json"):
        try:
            os.kill(json.loads(record.read_text(encoding="utf-8"))["pid"], 0)
        except (ProcessLookupError, ValueError, KeyError, TypeError):
            record.unlink(missing_ok=True)
        except OSError:
            continue  # gone meanwhile, or its process is another user's by now


def _remove(record: Path, content: str) -> None:
    """Unless another service has taken the port, and the record, meanwhile."""
    try:
        if record.read_text(encoding="utf-8") == content:
            record.unlink()
    except OSError as error:
        log.warning("%s could not be removed: %s", record, error)


def _state_folder() -> Path:
    """Where programs of this user keep what outlives them, as the XDG base directory specification says."""
    given = os.environ.get("XDG_STATE_HOME")
    return Path(given) if given and Path(given).is_absolute() else Path.home() / ".local" / "state"
