"""Checkpoints and models on disk: complete or absent, and verified when read.

A file is written under a temporary name, flushed to disk, renamed, and its folder flushed. A checkpoint's name carries
the SHA-256 of its content, so that a damaged one is seen and the one before it used.
"""

import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from workers.parameter_server import ServerState

__all__ = ["KEPT", "Checkpoint", "newest", "write", "write_atomically"]

KEPT = 2  # the newest whole checkpoints that stay on disk
log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{12})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A job's whole state before step `step`: the server's vectors, and what the coordinator remembers (JSON data)."""

    step: int
    server: ServerState
    memory: dict[str, Any]


def write_atomically(path: Path, content: bytes) -> None:
    """Makes `path` hold `content`, wholly or not at all, also across a power cut. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint and then removes all but the newest KEPT. Raises OSError; what was there then still is."""
    state = checkpoint.server
    tensors = {"parameters": state.parameters, **{f"slots.{name}": slot for name, slot in state.slots.items()}}
    if state.best is not None:
        tensors["best"] = state.best
    content = save(tensors, {"step": str(checkpoint.step), "memory": json.dumps(checkpoint.memory)})
    path = folder / f"step-{checkpoint.step:012d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    write_atomically(path, content)
    for old in (*_listed(folder)[KEPT:], *folder.glob(".step-*.partial")):  # the latter of attempts that were killed
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None."""
    for path in _listed(folder):
        try:
            return _read(path)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            log.warning("checkpoint %s is damaged and passed over: %s", path.name, error)
    return None


def _listed(folder: Path) -> list[Path]:
    """Checkpoint files, newest first."""
    return sorted((path for path in folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name)), reverse=True)


def _read(path: Path) -> Checkpoint:
    match = _NAME.fullmatch(path.name)
    assert match is not None, "only listed files are read"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != match[2]:
        raise ValueError(f"its SHA-256 is {digest}")
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors: dict[str, np.ndarray[Any, Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    slots = {name.removeprefix("slots."): value for name, value in tensors.items() if name.startswith("slots.")}
    state = ServerState(tensors["parameters"], slots, tensors.get("best"))
    return Checkpoint(int(metadata["step"]), state, json.loads(metadata["memory"]))
