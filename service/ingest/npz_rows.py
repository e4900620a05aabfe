"""The rows of an npz file's arrays, batch after batch in bounded memory."""

import math
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from service.ingest.guess import Guess
from shared.table import ColumnType

__all__ = ["Member", "batches"]

Rows = npt.NDArray[Any]

ALIGNED_BYTES = 64


@dataclass
class Member:
    """One array of the file, and what becomes of it."""

    name: str
    info: zipfile.ZipInfo
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    """Whether the first axis, the rows, is the one that runs fastest in the file."""
    header_bytes: int
    kind: ColumnType
    guess: Guess | None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the file."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def batches(archive: zipfile.ZipFile, members: list[Member], rows: int, step: int) -> Iterator[tuple[int, list[Rows]]]:
    """The members' next rows, all members side by side: number of the first row, one array for each member.

    An array in Fortran order is unpacked into a file beside the archive first, as each of its rows is all over it.
    Raises EOFError for an array that ends early; OSError, of a full disk too.
    """
    with ExitStack() as stack, TemporaryFile(dir=Path(str(archive.filename)).parent) as unpacked:
        whole = _map(archive, [member for member in members if member.is_fortran], unpacked)
        files = {
            member.name: stack.enter_context(_content(archive, member)) for member in members if not member.is_fortran
        }
        for start in range(0, rows, step):
            count = min(step, rows - start)
            arrays = (
                whole[member.name][start : start + count]
                if member.is_fortran
                else _next_rows(files[member.name], member, count)
                for member in members
            )
            yield start, [array.astype(array.dtype.newbyteorder("="), order="C", copy=False) for array in arrays]


def _content(archive: zipfile.ZipFile, member: Member) -> IO[bytes]:
    """What follows the member's header."""
    file = archive.open(member.info)
    file.read(member.header_bytes)
    return file


def _map(archive: zipfile.ZipFile, members: list[Member], unpacked: IO[bytes]) -> dict[str, Rows]:
    """The arrays by name, unpacked into a file and mapped: all into one, for a map holds a file open."""
    places = []
    for member in members:
        start = unpacked.seek(-(-unpacked.tell() // ALIGNED_BYTES) * ALIGNED_BYTES)
        with _content(archive, member) as packed:
            shutil.copyfileobj(packed, unpacked)
        places.append(slice(start, unpacked.tell()))
        _check_size(member, unpacked.tell() - start, member.shape[0])
    if not members:
        return {}
    unpacked.flush()
    content = np.memmap(unpacked, np.uint8, "r")
    return {
        member.name: content[place].view(member.dtype).reshape(member.shape, order="F")
        for member, place in zip(members, places, strict=True)
    }


def _next_rows(file: IO[bytes], member: Member, count: int) -> Rows:
    content = file.read(count * member.row_bytes)
    _check_size(member, len(content), count)
    return np.frombuffer(content, member.dtype).reshape(count, *member.shape[1:])


def _check_size(member: Member, size_bytes: int, rows: int) -> None:
    if size_bytes != rows * member.row_bytes:
        raise EOFError(f"array {member.name!r} ends early")
