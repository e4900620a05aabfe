"""Files on this side: what an upload is, reading it in chunks, writing a download whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chainrule.errors import ChainruleError, InvalidFile

__all__ = ["Media", "chunks", "media_of", "name_of", "safetensors_metadata", "write_whole"]

CHUNK_BYTES = 256 * 1024
HEADER_LIMIT_BYTES = 100_000_000  # the safetensors format's own limit


@dataclass(frozen=True)
class Media:
    """How a file is sent: its content type, its encoding, and what the service must be told to read it."""

    type: str
    encoding: str | None = None
    options: dict[str, str] = field(default_factory=dict)


MEDIA = {
    ".csv": Media("text/csv"),
    ".csv.gz": Media("text/csv", encoding="gzip"),
    ".tsv": Media("text/csv", options={"delimiter": "\t"}),
    ".parquet": Media("application/vnd.apache.parquet"),
    ".npz": Media("application/x-npz"),
}


def _suffix(path: Path) -> str | None:
    lower = path.name.lower()
    return max((suffix for suffix in MEDIA if lower.endswith(suffix)), key=len, default=None)


def media_of(path: Path) -> Media:
    """What the file is, by its suffix. Raises InvalidFile for any other."""
    suffix = _suffix(path)
    if suffix is None:
        raise InvalidFile(f"{path}: got the suffix {path.suffix or '(none)'}, expected one of {', '.join(MEDIA)}")
    return MEDIA[suffix]


def name_of(path: Path) -> str:
    """The file's name without its suffix: what a data set is called unless told otherwise."""
    return path.name[: -len(_suffix(path) or "") or None]


def chunks(path: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[bytes]:
    """The file's bytes, piece by piece; `progress(sent, total)` is told after each."""
    total, sent = path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
            sent += len(piece)
            if progress:
                progress(sent, total)


def write_whole(path: Path, pieces: Iterable[bytes], progress: Callable[[int], object] | None = None) -> None:
    """Writes `pieces` to `path` by way of a temporary file beside it, so that nobody ever sees half of it."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            written = 0
            for piece in pieces:
                file.write(piece)
                written += len(piece)
                if progress:
                    progress(written)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def safetensors_metadata(pieces: Iterable[bytes]) -> dict[str, str]:
    """The metadata in the head of a safetensors file: 8 bytes little-endian length, then as much JSON.

    Source: the format's description at github.com/huggingface/safetensors.
    """
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) < 8:
            continue
        length = int.from_bytes(head[:8], "little")
        if length > HEADER_LIMIT_BYTES:
            break
        if len(head) >= 8 + length:
            metadata = json.loads(head[8 : 8 + length]).get("__metadata__", {})
            return {str(key): str(value) for key, value in metadata.items()}
    raise ChainruleError("the service sent a model that is not a safetensors file")
