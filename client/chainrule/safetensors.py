"""Safetensors files, read without the library: eight bytes of length, as much JSON, then the tensors' bytes.

Source: the format's description at github.com/huggingface/safetensors.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["header", "metadata", "tensors"]

HEADER_LIMIT_BYTES = 100_000_000  # the format's own
DTYPES = {"F32": "<f4", "F64": "<f8"}  # those that models have


def _length(head: bytes | bytearray) -> int:
    return int.from_bytes(head[:8], "little")


def header(head: bytes | bytearray) -> dict[str, Any] | None:
    """The header of a file that begins with `head`; None as long as that is not the whole of it.

    Raises ChainruleError for what is no safetensors file.
    """
    if len(head) < 8:
        return None
    length = _length(head)
    if length > HEADER_LIMIT_BYTES:
        raise ChainruleError(f"this is not a safetensors file: got a header of {length:,} bytes")
    if len(head) < 8 + length:
        return None
    try:
        found = json.loads(head[8 : 8 + length])
    except ValueError as error:
        raise ChainruleError(f"this is not a safetensors file: its header is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ChainruleError("this is not a safetensors file: its header is no JSON object")
    return found


def metadata(header: Mapping[str, Any]) -> dict[str, str]:
    """What the file says of itself."""
    return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}


def tensors(content: bytes, header: Mapping[str, Any]) -> "dict[str, npt.NDArray[np.floating[Any]]]":
    """The tensors by name, float32 or float64: views of `content`. Raises ChainruleError where the file is damaged."""
    import numpy as np

    first = 8 + _length(content)
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            values = np.frombuffer(content[first + begin : first + end], DTYPES[entry["dtype"]])
            found[name] = values.reshape(entry["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ChainruleError(f"tensor {name} cannot be read: {error!r}") from error
    return found
