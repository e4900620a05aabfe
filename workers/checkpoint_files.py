"""Checkpoints as named contents of a storage: complete or absent, and only the newest are kept.

A checkpoint's name carries its step and the SHA-256 of its content, so that a damaged one is seen and the one before it
used. What the content is, `workers.checkpoint` knows.
"""

import hashlib
import logging
import re
from collections.abc import Collection, Sequence

from workers.disk import Parts
from workers.storage import Storage

__all__ = ["KEPT", "kept", "names_of", "step_and_digest", "superseded", "write"]

KEPT = 2  # the newest whole checkpoints that stay
log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{12})-([0-9a-f]{64})\.safetensors")


def write(storage: Storage, step: int, parts: Parts, damaged: Collection[str] = ()) -> None:
    """Writes a checkpoint and then removes the `damaged` ones, and of the others all but the newest KEPT. Raises
    OSError; what was there then still is."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    name = f"step-{step:012d}-{digest.hexdigest()}.safetensors"
    storage.write(name, parts)
    try:
        for old in superseded(storage.names(), name, damaged):
            storage.remove(old)
    except OSError:
        log.warning("old checkpoints could not be removed; tried again after the next one", exc_info=True)


def superseded(names: Sequence[str], written: str, damaged: Collection[str] = ()) -> list[str]:
    """Which checkpoints are to be removed now that one is written: those that are known to be damaged, and all but this
    and the newest KEPT - 1 before it. Newer ones are of an attempt that has taken our place.
    """
    others = {name for name in names if _NAME.fullmatch(name) and name != written}
    before = sorted((name for name in others.difference(damaged) if name < written), reverse=True)
    return before[KEPT - 1 :] + sorted(others.intersection(damaged))


def names_of(storage: Storage) -> list[str]:
    """The checkpoints that are kept, the newest first. Raises OSError."""
    return sorted(filter(_NAME.fullmatch, storage.names()), reverse=True)


def kept(storage: Storage) -> list[tuple[int, str]]:
    """Step and SHA-256 of each checkpoint, the newest first, as their names say. Raises OSError."""
    return [step_and_digest(name) for name in names_of(storage)]


def step_and_digest(name: str) -> tuple[int, str]:
    """What the name of a checkpoint says."""
    match = _NAME.fullmatch(name)
    assert match is not None, "only names of checkpoints are read"
    return int(match[1]), match[2]
