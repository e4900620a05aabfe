"""Damaged files of each kind become a data set or a refusal, within limits, and nothing else."""

import asyncio
import io
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.datasets import ReadOptions, preview
from service.ingest.orders import Limits, Order
from service.readers import Readers
from shared.errors import InvalidInput

EXAMPLES = 10_000 if "CHAINRULE_TEST_LONG" in os.environ else 50
LIMITS = Limits(memory_bytes=512 << 20, base_s=20)

CSV = 'id,when,"a ""b""",x\n' + "".join(
    f'{row},2026-11-{row:02}T10:00:00Z,"text, {row % 3}",{row / 7}\n' for row in range(1, 20)
)


def npz(**options: bool) -> bytes:
    sink = io.BytesIO()
    save = np.savez_compressed if options.get("compressed") else np.savez
    save(
        sink,
        image=np.arange(60, dtype=np.float32).reshape(10, 2, 3),
        order=np.asfortranarray(np.arange(20).reshape(10, 2)),
        name=np.array([f"n{row % 3}" for row in range(10)]),
        ok=np.arange(10) % 2 == 0,
    )
    return sink.getvalue()


def parquet(compression: str) -> bytes:
    table = pa.table(
        {
            "n": pa.array([1, None, 3] * 10, pa.int32()),
            "x": pa.array([1.5, float("nan"), None] * 10),
            "s": pa.array(["x", "y", None] * 10).dictionary_encode(),
            "t": pa.array([0, 1, 2] * 10, pa.timestamp("us")),
            "v": pa.array([[1, 2], [3, 4], [5, 6]] * 10, pa.list_(pa.uint8(), 2)),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=10, compression=compression)
    return sink.getvalue()


FILES = {
    "csv": ("text/csv", CSV.encode()),
    "npz": ("application/x-npz", npz()),
    "npz compressed": ("application/x-npz", npz(compressed=True)),
    "parquet": ("application/vnd.apache.parquet", parquet("none")),
    "parquet compressed": ("application/vnd.apache.parquet", parquet("snappy")),
}

# ---------------------------------------------------------------- damage
EXTREMES = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
Damage = Callable[[bytes], bytes]


def at(place: float, content: bytes) -> int:
    return int(place * len(content))


def flipped(place: float, bit: int) -> Damage:
    def damage(content: bytes) -> bytes:
        position = at(place, content)
        byte = bytes([content[position] ^ 1 << bit]) if content else b""
        return content[:position] + byte + content[position + 1 :]

    return damage


def replaced(place: float, length: int, new: bytes) -> Damage:
    return lambda content: content[: at(place, content)] + new + content[at(place, content) + length :]


def doubled(place: float, length: int, again: int) -> Damage:
    def damage(content: bytes) -> bytes:
        position = at(place, content)
        piece = content[position : position + length]
        return content[:position] + piece * again + content[position + length :]

    return damage


PLACES = st.floats(0, 1, exclude_max=True)
LENGTHS = st.integers(0, 40)
NUMBERS = st.builds(
    lambda number, kind: struct.pack(kind, number & (1 << 8 * struct.calcsize(kind)) - 1),
    st.sampled_from(EXTREMES),
    st.sampled_from(["<B", "<H", "<I", "<Q"]),
)
DAMAGES = st.one_of(
    st.builds(flipped, PLACES, st.integers(0, 7)),
    st.builds(replaced, PLACES, LENGTHS, st.binary(max_size=40)),
    NUMBERS.flatmap(lambda number: st.builds(replaced, PLACES, st.just(len(number)), st.just(number))),
    st.builds(
        replaced, PLACES, LENGTHS, st.sampled_from([b'"', b",", b"\n", b"\r", b"(", b"9" * 30, b"'", b"\xef\xbb\xbf"])
    ),
    st.builds(doubled, PLACES, LENGTHS, st.integers(2, 50)),
    st.builds(replaced, PLACES, st.just(1 << 20), st.just(b"")),  # cut off
)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    readers = Readers()
    yield readers
    readers.stop()


def check(readers: Readers, folder: Path, media_type: str, content: bytes) -> None:
    """Reads a file. The only errors that may come are those that a user is told as such."""
    source, made = folder / "upload", folder / "table"
    source.write_bytes(content)
    made.mkdir()
    order = Order(
        tenant="default",
        source=source,
        media_type=media_type,
        options=ReadOptions(),
        folder=made,
        dataset_id="ds_fuzzed",
        sha256="0" * 64,
        limits=LIMITS,
    )
    try:
        table = asyncio.run(readers.read(order))
    except InvalidInput as error:
        assert list(made.iterdir()) == []
        assert "needs more than" not in str(error), "got beyond the limits before it was refused"
        return
    assert len(preview(table, 100)) == min(table.rows, 100)


@pytest.mark.parametrize("kind", FILES)
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(damages=st.lists(DAMAGES, min_size=1, max_size=4))
def test_a_damaged_file_becomes_a_data_set_or_is_refused(
    kind: str, damages: list[Damage], readers: Readers, tmp_path: Path
) -> None:
    media_type, content = FILES[kind]
    for damage in damages:
        content = damage(content)
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        check(readers, Path(folder), media_type, content)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(header=st.text(max_size=200), data=st.binary(max_size=100), version=st.sampled_from([1, 2, 3]))
def test_an_array_with_any_header_becomes_a_data_set_or_is_refused(
    header: str, data: bytes, version: int, readers: Readers, tmp_path: Path
) -> None:
    text = header.encode(errors="surrogatepass")
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY" + bytes([version, 0]) + size + text + data)
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        check(readers, Path(folder), "application/x-npz", sink.getvalue())
