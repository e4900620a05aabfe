"""An npz file as a table: each array a column, its first axis the rows; nothing is ever unpickled."""

import io
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from service.ingest.guess import Guess
from service.ingest.npz_rows import Member, batches
from service.ingest.options import ReadOptions, check_expansion, check_names
from service.ingest.writer import ARROW_TYPES, TableWriter
from shared.errors import InvalidInput
from shared.table import ColumnType

__all__ = ["write_npz"]

MAX_MEMBERS = 10_000
MAX_DIRECTORY_BYTES = 4 << 20
MAX_HEADER_BYTES = 10_000
MAX_AXES = 32
BATCH_ROWS = 65_536
BATCH_BYTES = 16 << 20
NPY_MAGIC = b"\x93NUMPY"
# What numpy raises for a header: it reads Python's literals, and those of Python 2 by looking at their tokens.
HEADER_ERRORS = (ValueError, TypeError, IndexError, RecursionError, MemoryError, SyntaxError, tokenize.TokenError)
KINDS: dict[str, ColumnType] = {"i": "integer", "u": "integer", "f": "number", "b": "boolean", "U": "text", "S": "text"}


def write_npz(source: Path, options: ReadOptions, writer: TableWriter) -> None:
    """Writes the arrays. Raises InvalidInput naming the array, and the row where it can."""
    options.only_for_csv("npz")
    _check_directory(source)
    try:
        with zipfile.ZipFile(source) as archive:
            members = _members(archive, source.stat().st_size, options)
            _write(archive, members, writer)
    except UnicodeDecodeError:
        raise InvalidInput.of("body", "names that are not UTF-8", "a whole npz file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InvalidInput.of("body", str(error) or type(error).__name__, "a whole npz file") from None


def _write(archive: zipfile.ZipFile, members: list[Member], writer: TableWriter) -> None:
    rows = members[0].shape[0]
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // sum(max(member.row_bytes, 8) for member in members)))
    texts = [member for member in members if member.guess is not None]
    for _, arrays in batches(archive, texts, rows, step) if texts else ():
        for member, values in zip(texts, arrays, strict=True):
            assert member.guess is not None
            member.guess.gather(_strings(member, values))
    for member in members:
        if member.guess is not None:
            member.guess.decide()
            member.kind = member.guess.kind
        if member.kind == "tensor":
            element = pa.from_numpy_dtype(member.dtype.newbyteorder("="))
            writer.add_tensor(member.name, element, list(member.shape[1:]), member.dtype.newbyteorder("=").name)
        else:
            writer.add_column(member.name, member.kind, member.guess.categories if member.guess else None)
    for start, arrays in batches(archive, members, rows, step):
        parts = zip(members, arrays, strict=True)
        writer.write([_convert(member, values, start) for member, values in parts])


# ---------------------------------------------------------------- what the file says of itself, before it is unpacked
def _check_directory(source: Path) -> None:
    """Raises InvalidInput unless the zip's closing record tells of a directory that may be read into memory."""
    with source.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 64))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) - at < 22:
        raise InvalidInput.of("body", repr(end[:8]), "a whole npz file, as numpy.savez writes it")
    count, directory_bytes = struct.unpack_from("<HI", end, at + 10)
    is_zip64 = at >= 20 and end[at - 20 : at - 16] == b"PK\x06\x07"
    if count > MAX_MEMBERS or directory_bytes > MAX_DIRECTORY_BYTES or is_zip64:
        got = "a zip64 directory" if is_zip64 else f"{count:,} arrays, listed in {directory_bytes:,} bytes"
        raise InvalidInput.of("body", got, f"at most {MAX_MEMBERS:,} arrays, listed in {MAX_DIRECTORY_BYTES:,} bytes")


def _members(archive: zipfile.ZipFile, size: int, options: ReadOptions) -> list[Member]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise InvalidInput.of("body", f"{len(infos):,} arrays", f"at most {MAX_MEMBERS:,} arrays")
    check_expansion(size, sum(info.file_size for info in infos))
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise InvalidInput.of(f"array {info.filename!r}", "bytes of another array", "arrays that do not overlap")
        end = info.header_offset + 30 + info.compress_size
    names = [info.filename.removesuffix(".npy") for info in infos]
    check_names(names, options.types)
    members = [_member(archive, info, name, options) for info, name in zip(infos, names, strict=True)]
    rows = members[0].shape[0]
    for member in members:
        if member.shape[0] != rows:
            expected = f"{rows:,} rows, as array {members[0].name!r} has: the first axis is the rows"
            raise InvalidInput.of(f"array {member.name!r}", f"{member.shape[0]:,} rows", expected)
    check_expansion(size, rows * sum(max(member.row_bytes, 8) for member in members))
    return members


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, options: ReadOptions) -> Member:
    """One array's header, believed only where the member's size agrees."""
    field = f"array {name!r}"
    if not info.filename.endswith(".npy"):
        raise InvalidInput.of(field, info.filename, "members that end in .npy")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput.of(field, "an encrypted or unknown compression", "members stored or deflated")
    with archive.open(info) as file:
        shape, fortran, dtype, header_bytes = _header(file, field)
    if dtype.hasobject:
        raise InvalidInput.of(field, "dtype object", "numbers, booleans or strings: objects are never unpickled")
    if dtype.kind not in KINDS or dtype.itemsize == 0 or (dtype.kind in "iufb" and dtype.itemsize > 8):
        raise InvalidInput.of(field, f"dtype {dtype}", "integers, floats of at most 64 bits, booleans or strings")
    if not 1 <= len(shape) <= MAX_AXES or min(shape) < 1:
        raise InvalidInput.of(field, f"shape {shape}", f"1 to {MAX_AXES} axes, the rows first, none of them empty")
    claimed = header_bytes + math.prod(shape) * dtype.itemsize
    if claimed != info.file_size:
        raise InvalidInput.of(
            field, f"shape {shape} of {dtype}: {claimed:,} bytes", f"{info.file_size:,} bytes, as it has"
        )
    if len(shape) > 1 and dtype.kind in "US":
        raise InvalidInput.of(field, f"shape {shape} of {dtype}", "numbers, where there is more than one axis")
    kind: ColumnType = "tensor" if len(shape) > 1 else KINDS[dtype.kind]
    asked = options.types.get(name)
    if asked is not None and asked != kind and (kind != "text" or asked != "category"):
        raise InvalidInput.of(f"types.{name}", asked, f"{kind}, which is what the array holds")
    guess = Guess(name, asked, text=True) if kind == "text" else None
    return Member(name, info, dtype, shape, fortran and len(shape) > 1, header_bytes, kind, guess)


def _header(file: IO[bytes], field: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order and dtype as the header tells them, and how many bytes it takes."""
    magic = file.read(8)
    version = tuple(magic[6:8])
    if magic[:6] != NPY_MAGIC or version not in ((1, 0), (2, 0)):
        raise InvalidInput.of(field, repr(magic), "an array in npy format 1.0 or 2.0")
    length = file.read(2 if version == (1, 0) else 4)
    size = int.from_bytes(length, "little")
    if size > MAX_HEADER_BYTES:
        raise InvalidInput.of(field, f"a header of {size:,} bytes", f"at most {MAX_HEADER_BYTES:,} bytes")
    header = io.BytesIO(length + file.read(size))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(header, max_header_size=MAX_HEADER_BYTES)
    except HEADER_ERRORS:
        raise InvalidInput.of(field, "a header that cannot be read", "an array in npy format 1.0 or 2.0") from None
    return shape, fortran, dtype, 8 + len(length) + size


# ---------------------------------------------------------------- values
def _strings(member: Member, values: npt.NDArray[Any]) -> Any:
    try:
        texts = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        return pa.array(texts.tolist(), pa.large_string())
    except ValueError as error:  # UnicodeError is one
        raise InvalidInput.of(f"array {member.name!r}", str(error), "text in UTF-8") from None


def _convert(member: Member, values: npt.NDArray[Any], start: int) -> Any:
    """A batch's values as they are written. Raises InvalidInput for those that cannot be."""
    if member.guess is not None:
        return member.guess.encode(_strings(member, values))
    if member.kind == "tensor":
        if values.dtype.kind == "f":
            _refuse(member, values, start, ~np.isfinite(values), "finite numbers: a tensor has no missing ones")
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), math.prod(member.shape[1:]))
    if values.dtype.kind == "f":
        _refuse(member, values, start, np.isinf(values), "a finite number, or NaN where it is missing")
    elif values.dtype == np.uint64:
        _refuse(member, values, start, values > np.iinfo(np.int64).max, "at most 2⁶³ - 1")
    return pa.array(values, from_pandas=True).cast(ARROW_TYPES[member.kind])


def _refuse(member: Member, values: npt.NDArray[Any], start: int, bad: npt.NDArray[np.bool_], expected: str) -> None:
    """Raises InvalidInput for the first value that is bad, if there is one."""
    if bad.any():
        index = int(np.argwhere(bad)[0][0])
        got = values[index][bad[index]].flat[0].item()
        raise InvalidInput.of(f"row {start + index + 1}, array {member.name!r}", got, expected)
