"""Checkpoints: a job's whole state in one safetensors file, verified when read."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from workers.checkpoint_files import names_of, step_and_digest
from workers.disk import Parts
from workers.parameter_server import ServerState, Vector
from workers.storage import Storage, StorageAway

__all__ = ["Checkpoint", "header_of", "newest", "newest_readable", "parts_of", "tensors_of"]

log = logging.getLogger(__name__)
_DTYPES = {"float32": "F32", "float64": "F64"}


@dataclass(frozen=True)
class Checkpoint:
    """A job's whole state before step `step`: the server's vectors, and what the coordinator remembers (JSON data)."""

    step: int
    server: ServerState
    memory: dict[str, Any]


# ---------------------------------------------------------------- writing
def tensors_of(state: ServerState) -> dict[str, Vector]:
    """The vectors of a state by their names in the file."""
    tensors = {"parameters": state.parameters, **{f"slots.{name}": slot for name, slot in state.slots.items()}}
    return tensors if state.best is None else tensors | {"best": state.best}


def parts_of(header: bytes, tensors: Iterable[Vector]) -> Parts:
    """The file's content: none of the work on it holds the interpreter, as all of `safetensors.save` does."""
    return [header, *(tensor.view(np.uint8).data for tensor in tensors)]


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
def newest(storage: Storage) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, or None, and the names of newer ones, which are damaged.

    Raises StorageAway where it cannot be known.
    """
    found, damaged, _ = _newest(storage, passes_over=False)
    return found, damaged


def newest_readable(storage: Storage) -> tuple[Checkpoint | None, list[str], list[str]]:
    """The same of those that can be read, and the names of newer ones that cannot. Raises StorageAway where none that
    is whole can."""
    return _newest(storage, passes_over=True)


def _newest(storage: Storage, *, passes_over: bool) -> tuple[Checkpoint | None, list[str], list[str]]:
    damaged: list[str] = []
    unread: list[str] = []
    away: StorageAway | None = None
    for name in names_of(storage):
        try:
            return _read(storage, name), damaged, unread
        except StorageAway as error:
            if not passes_over:
                raise
            log.warning("checkpoint %s cannot be read and is passed over: %s", name, error)
            unread.append(name)
            away = error
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            log.warning("checkpoint %s is damaged and passed over: %s", name, error)
            damaged.append(name)
    if away is not None:
        raise away
    return None, damaged, unread


def _read(storage: Storage, name: str) -> Checkpoint:
    step, expected = step_and_digest(name)
    content = storage.read(name)
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(f"its SHA-256 is {digest}")
    tensors: dict[str, np.ndarray[Any, Any]] = load(content)
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    slots = {name.removeprefix("slots."): value for name, value in tensors.items() if name.startswith("slots.")}
    state = ServerState(tensors["parameters"], slots, tensors.get("best"))
    return Checkpoint(step, state, json.loads(metadata["memory"]))
