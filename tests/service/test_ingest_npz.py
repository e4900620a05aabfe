"""npz files become typed tables, or are refused before anything is allocated for what they claim."""

import io
import resource
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from service.datasets import ingest, preview
from service.ingest.options import ReadOptions
from shared.errors import UnsupportedMedia
from support.tables import ingest_bytes, refusal

NPZ = "application/x-npz"


def npz(**arrays: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return sink.getvalue()


def npy(shape: str, data: bytes = b"0000", descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ds_test"


def test_arrays_become_columns(folder: Path) -> None:
    images = np.arange(12, dtype=">f4").reshape(2, 3, 2)
    table = ingest_bytes(
        npz(
            image=images,
            bits=np.array([[True, False], [False, True]]),
            half=np.ones((2, 1), np.float16),
            digit=np.array([1, 2], np.uint8),
            weight=np.array([1.5, np.nan]),
            name=np.array(["a", "b"]),
            raw=np.array(["a", "ä"]).astype("U1").view("U1"),
            ok=np.array([True, False]),
        ),
        folder,
        NPZ,
    )
    told = {column.name: (column.type, column.missing, column.shape, column.dtype) for column in table.columns}
    assert told == {
        "image": ("tensor", 0, [3, 2], "float32"),
        "bits": ("tensor", 0, [2], "bool"),
        "half": ("tensor", 0, [1], "float16"),
        "digit": ("integer", 0, None, None),
        "weight": ("number", 1, None, None),
        "name": ("category", 0, None, None),
        "raw": ("category", 0, None, None),
        "ok": ("boolean", 0, None, None),
    }
    assert preview(table, 2)[1] == {
        "image": images[1].tolist(),
        "bits": [False, True],
        "half": [1.0],
        "digit": 2,
        "weight": None,
        "name": "b",
        "raw": "ä",
        "ok": False,
    }


def test_rows_are_read_in_pieces_without_a_seam(folder: Path) -> None:
    values = np.random.default_rng(0).random((70_000, 3))
    table = ingest_bytes(npz(x=values, y=np.arange(70_000)), folder, NPZ)
    shown = preview(table, 70_000)
    assert [row["x"] for row in shown[65_530:65_540]] == values[65_530:65_540].tolist()
    assert [row["y"] for row in shown] == list(range(70_000))


@pytest.mark.parametrize("dtype", ["<f8", ">i2", "bool"])
def test_arrays_in_fortran_order_are_the_arrays_that_they_are_in_c_order(dtype: str, folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (70_000, 2, 3)).astype(dtype)
    others = {"y": np.arange(70_000), "z": values[:, 0]}
    expected = preview(ingest_bytes(npz(x=values, **others), folder, NPZ), 70_000)
    in_fortran_order = {"x": np.asfortranarray(values), "y": others["y"], "z": np.asfortranarray(others["z"])}
    assert preview(ingest_bytes(npz(**in_fortran_order), folder, NPZ), 70_000) == expected


def test_many_arrays_in_fortran_order_do_not_use_up_the_files_that_may_be_open(folder: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        table = ingest_bytes(npz(**{f"x{n}": np.ones((2, 3), order="F") for n in range(300)}), folder, NPZ)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(table.columns) == 300


def test_an_array_in_fortran_order_is_not_read_into_memory_whole(folder: Path) -> None:
    sink = io.BytesIO()
    np.savez(sink, x=np.asfortranarray(np.ones((60_000, 1_000), np.uint8)))
    content = sink.getvalue()
    tracemalloc.start()
    ingest_bytes(content, folder, NPZ)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 40_000_000


@pytest.mark.parametrize(
    ("arrays", "got"),
    [
        ({"x": np.array([{}, 1], object)}, "dtype object"),
        ({"x": np.array(1)}, "shape ()"),
        ({"x": np.zeros((0, 2))}, "shape (0, 2)"),
        ({"x": np.ones(2, complex)}, "dtype complex128"),
        ({"x": np.zeros(2, "i4,f4")}, "dtype [('f0', '<i4'), ('f1', '<f4')]"),
        ({"a": np.ones(3), "x": np.ones(2)}, "2 rows"),
    ],
)
def test_arrays_that_are_no_columns_are_named(arrays: dict[str, np.ndarray], got: str, folder: Path) -> None:
    error = refusal(npz(**arrays), folder, NPZ)
    assert (error.field, error.got) == ("array 'x'", got)


def test_a_tensor_that_is_not_finite_is_named_by_its_row(folder: Path) -> None:
    error = refusal(npz(x=np.array([[1, 2], [np.inf, 1]])), folder, NPZ)
    assert (error.field, error.got) == ("row 2, array 'x'", np.inf)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_number_is_named_by_its_row_and_not_taken_for_missing(value: float, folder: Path) -> None:
    error = refusal(npz(x=np.array([np.nan, 1, value, value], np.float32)), folder, NPZ)
    assert (error.field, error.got) == ("row 3, array 'x'", value)
    assert ingest_bytes(npz(x=np.array([np.nan, 1], np.float16)), folder, NPZ).columns[0].missing == 1


def test_an_integer_beyond_64_bits_with_a_sign_is_named_by_its_row(folder: Path) -> None:
    error = refusal(npz(x=np.array([1, 2**63], np.uint64)), folder, NPZ)
    assert (error.field, error.got) == ("row 2, array 'x'", 2**63)


@pytest.mark.parametrize(
    "content",
    [
        npy("(65536, 65536)", b"0" * 128),
        npy("(2,)"),
        npy("(-1, -1)"),
        npy("(1, " + "9" * 4000 + ")"),
        npy("(" + "1," * 60 + ")"),
        npy("__import__('os').getpid()"),
        npy("(" * 3000 + ")" * 3000),
        npy("(1,", b""),
        npy("(1,)", descr="()"),
        npy("(1,)", descr="'|O'"),
        b"\x80\x04x.",
        b"",
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31),
        b"\x93NUMPY\x03\x00" + bytes(100),
    ],
    ids=[
        "claims 16 GiB",
        "claims more",
        "negative",
        "huge",
        "axes",
        "code",
        "deep",
        "never closed",
        "no type",
        "object",
        "pickle",
        "empty",
        "header of 2 GiB",
        "version",
    ],
)
def test_headers_are_not_believed(content: bytes, folder: Path) -> None:
    assert refusal(archive(("x.npy", content)), folder, NPZ).field == "array 'x'"


def test_archives_that_would_harm_are_refused(folder: Path) -> None:
    good = npy("(1,)")
    for members, got in ((10_001, "10,001 arrays"), (10**5, "a zip64 directory")):
        assert got in refusal(archive(*((f"{n}.npy", b"") for n in range(members))), folder, NPZ).got
    assert refusal(archive(("x.txt", good)), folder, NPZ).expected == "members that end in .npy"
    assert refusal(archive(("x.npy", good), compression=zipfile.ZIP_BZIP2), folder, NPZ).field == "array 'x'"
    assert refusal(archive(), folder, NPZ).got == "0 columns"
    bomb = npz(x=np.zeros((80, 1 << 20), np.uint8))
    assert "bytes unpacked" in refusal(bomb, folder, NPZ).got


def test_overlapping_members_are_refused_also_where_all_headers_agree(folder: Path) -> None:
    """The bytes of a hold all of b, header and array, and the directory says that b begins there."""
    inner = archive(("b.npy", npy("(1,)")))
    inner = inner[: inner.index(b"PK\x01\x02")]
    outer = npy(f"(1, {len(inner)})", inner, "'|u1'")
    content = bytearray(archive(("a.npy", outer), ("b.npy", npy("(1,)"))))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", content.index(inner))
    wrong = refusal(bytes(content), folder, NPZ)
    assert (wrong.field, wrong.expected) == ("array 'b.npy'", "arrays that do not overlap")


@pytest.mark.parametrize("damage", ["cut", "changed", "rubbish"])
def test_a_damaged_file_is_refused(damage: str, folder: Path) -> None:
    whole = archive(("x.npy", npy("(1,)")))
    content = {"cut": whole[:-30], "changed": whole.replace(b"0000", b"0001"), "rubbish": b"x"}[damage]
    assert refusal(content, folder, NPZ).field == "body"


def test_a_name_that_is_not_utf_8_is_refused(folder: Path) -> None:
    content = archive(("ä.npy", npy("(1,)"))).replace("ä".encode(), b"\xff\xfe")
    assert refusal(content, folder, NPZ).field == "body"


def test_a_name_like_a_path_is_only_a_name(folder: Path) -> None:
    table = ingest_bytes(archive(("../../x.npy", npy("(1,)"))), folder, NPZ)
    assert table.columns[0].name == "../../x"
    assert not (folder / ".." / ".." / "x").exists()


def test_other_media_types_are_not_taken(tmp_path: Path) -> None:
    source = tmp_path / "model.pkl"
    source.write_bytes(b"\x80\x04x.")
    with pytest.raises(UnsupportedMedia, match="text/csv"):
        ingest(source, "application/octet-stream", ReadOptions(), tmp_path, "ds_1", "0" * 64)
