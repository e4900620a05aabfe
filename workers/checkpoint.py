"""Checkpoints: complete or absent, and verified when read.

A checkpoint is one safetensors file, whose name carries its step and the SHA-256 of its content, so that a damaged one
is seen and the one before it used. Where it is kept is a `Storage`.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from workers.disk import Parts
from workers.parameter_server import ServerState, Vector
from workers.storage import Storage, StorageAway

__all__ = ["KEPT", "Checkpoint", "header_of", "kept", "newest", "superseded", "tensors_of", "write"]

KEPT = 2  # the newest whole checkpoints that stay
log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d{12})-([0-9a-f]{64})\.safetensors")
_DTYPES = {"float32": "F32", "float64": "F64"}


@dataclass(frozen=True)
class Checkpoint:
    """A job's whole state before step `step`: the server's vectors, and what the coordinator remembers (JSON data)."""

    step: int
    server: ServerState
    memory: dict[str, Any]


# ---------------------------------------------------------------- writing
def write(storage: Storage, step: int, header: bytes, tensors: Sequence[Vector]) -> None:
    """Writes a checkpoint and then removes all but the newest KEPT. Raises OSError; what was there then still is.

    `header` is that of `tensors`. None of the work on them holds the interpreter, so that other threads can go on:
    `safetensors.save` would, for as long as it takes to copy them.
    """
    parts: Parts = [header, *(tensor.view(np.uint8).data for tensor in tensors)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    name = f"step-{step:012d}-{digest.hexdigest()}.safetensors"
    storage.write(name, parts)
    try:
        for old in superseded(storage.names(), name):
            storage.remove(old)
    except OSError:
        log.warning("old checkpoints could not be removed; tried again after the next one", exc_info=True)


def superseded(names: Sequence[str], written: str) -> list[str]:
    """Which checkpoints are to be removed now that one is written: all but this and the newest KEPT - 1 before it.

    Newer ones are removed too: that they were passed over for an older one says that they are damaged.
    """
    before = sorted((name for name in names if _NAME.fullmatch(name) and name < written), reverse=True)
    after = [name for name in names if _NAME.fullmatch(name) and name > written]
    return before[KEPT - 1 :] + after


def tensors_of(state: ServerState) -> dict[str, Vector]:
    """The vectors of a state by their names in the file."""
    tensors = {"parameters": state.parameters, **{f"slots.{name}": slot for name, slot in state.slots.items()}}
    return tensors if state.best is None else tensors | {"best": state.best}


def header_of(step: int, tensors: Mapping[str, Vector], memory: Mapping[str, Any]) -> bytes:
    """What stands before the tensors' bytes, as https://github.com/huggingface/safetensors describes the format."""
    entries: dict[str, Any] = {"__metadata__": {"step": str(step), "memory": json.dumps(memory)}}
    start = 0
    for name, tensor in tensors.items():
        stop = start + tensor.nbytes
        entries[name] = {"dtype": _DTYPES[tensor.dtype.name], "shape": tensor.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # so that numbers lie at multiples of their size
    return len(text).to_bytes(8, "little") + text


# ---------------------------------------------------------------- reading
def newest(storage: Storage) -> tuple[Checkpoint | None, list[int]]:
    """The newest checkpoint that is whole, or None, and the steps of newer ones, which are damaged.

    Raises StorageAway where it cannot be known.
    """
    damaged: list[int] = []
    for name in sorted(filter(_NAME.fullmatch, storage.names()), reverse=True):
        try:
            return _read(storage, name), damaged
        except StorageAway:
            raise
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            log.warning("checkpoint %s is damaged and passed over: %s", name, error)
            damaged.append(_step_and_digest(name)[0])
    return None, damaged


def kept(storage: Storage) -> list[tuple[int, str]]:
    """Step and SHA-256 of each checkpoint, the newest first, as their names say. Raises OSError."""
    return sorted(map(_step_and_digest, filter(_NAME.fullmatch, storage.names())), reverse=True)


def _read(storage: Storage, name: str) -> Checkpoint:
    step, expected = _step_and_digest(name)
    content = storage.read(name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(f"its SHA-256 is {digest}")
    tensors: dict[str, np.ndarray[Any, Any]] = load(content)
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    slots = {name.removeprefix("slots."): value for name, value in tensors.items() if name.startswith("slots.")}
    state = ServerState(tensors["parameters"], slots, tensors.get("best"))
    return Checkpoint(step, state, json.loads(metadata["memory"]))


def _step_and_digest(name: str) -> tuple[int, str]:
    match = _NAME.fullmatch(name)
    assert match is not None, "only names of checkpoints are read"
    return int(match[1]), match[2]
