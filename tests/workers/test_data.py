"""Prepared matrices hold exactly what the columns say, however the file is cut."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import BadData, DataMissing
from shared.preprocessing import columns_from_rows
from shared.randomness import Split, split
from shared.spec import JobSpec
from shared.table import TableFile
from support.checkpoints import SmallDisk
from support.tables import ingest_bytes, write_table
from workers.columns import open_table
from workers.data import PreparedData, prepare
from workers.fitting import WINDOW_ROWS
from workers.job import PreparedGone
from workers.planning import plan
from workers.rows import Rows

ROWS = 200
RANDOM = np.random.default_rng(0)
AGES = [None if row % 7 == 0 else int(RANDOM.integers(17, 90)) for row in range(ROWS)]
JOBS = [None if row % 11 == 0 else f"job {row % 5}" for row in range(ROWS)]
IMAGES = RANDOM.integers(0, 255, (ROWS, 2, 3)).astype(np.uint8)
SIGNALS = RANDOM.normal(size=(ROWS, 4))
INCOMES = [">50K" if row % 3 else "<=50K" for row in range(ROWS)]
SIZES = [float(row) ** 2 for row in range(ROWS)]
COLUMNS: dict[str, tuple[Any, Any]] = {
    "age": ("integer", AGES),
    "job": ("category", JOBS),
    "image": ("tensor", IMAGES),
    "signal": ("tensor", SIGNALS),
    "income": ("category", INCOMES),
    "size": ("number", SIZES),
}


def table_of(path: Path, batch_rows: int = 50, **changed: Any) -> TableFile:
    return write_table(path, {**COLUMNS, **changed}, batch_rows)


def prepared(
    table: TableFile, folder: Path, other: TableFile | None = None, /, threads: int = 1, **fields: Any
) -> PreparedData:
    spec = JobSpec.model_validate({"dataset": "d", "target": "income", **fields})
    return prepare(plan(spec, table, other), table, other, folder, threads=threads)


def training(data: PreparedData, dtype: str = "float32") -> tuple[Any, Any]:
    """x and y of all training rows, as a worker gathers them."""
    return gathered(data.open_training(np.dtype(dtype)))


def validation(data: PreparedData, dtype: str = "float32") -> tuple[Any, Any]:
    return gathered(data.open_validation(np.dtype(dtype)))


def gathered(rows: Rows) -> tuple[Any, Any]:
    x, y = rows.memory(len(rows))
    rows.gather(np.arange(len(rows)), x, y)
    return x, y


def rows_of(found: Split) -> tuple[Any, Any]:
    """The numbers of the rows that are trained on, and of those that are validated on."""
    everything = slice(0, found.rows)
    return np.flatnonzero(found.trains(everything)), np.flatnonzero(found.validates(everything))


def test_the_matrices_are_what_numpy_says(tmp_path: Path) -> None:
    data = prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p", validation={"fraction": 0.25}, dtype="float64")
    trained, validated = rows_of(split(ROWS, 0.25, 0))
    ages = np.array([np.nan if age is None else age for age in AGES])
    sizes = np.array(SIZES)
    mean, scale = np.nanmean(ages[trained]), np.nanstd(ages[trained])
    image_mean, image_scale = IMAGES[trained].mean(), IMAGES[trained].std()
    jobs = [f"job {n}" for n in range(5)] + [None]
    for rows, (x, y) in ((trained, training(data, "float64")), (validated, validation(data, "float64"))):
        expected = np.hstack(
            [
                ((np.where(np.isnan(ages), mean, ages) - mean) / scale)[rows, None],
                np.array([[job == JOBS[row] for job in jobs] for row in rows]),
                (IMAGES[rows].reshape(-1, 6) - image_mean) / image_scale,
                (SIGNALS[rows] - SIGNALS[trained].mean(axis=0)) / SIGNALS[trained].std(axis=0),
                ((sizes - sizes[trained].mean()) / sizes[trained].std())[rows, None],
            ]
        )
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-12)
        assert y.tolist() == [int(INCOMES[row] == ">50K") for row in rows]
        assert (x.dtype, y.dtype) == (np.float64, np.int32)


def test_the_bits_do_not_depend_on_how_the_file_is_cut(tmp_path: Path) -> None:
    bits = []
    for batch_rows in (1, 7, 1000):
        table = table_of(tmp_path / "t.arrow", batch_rows)
        data = prepared(table, tmp_path / f"p{batch_rows}", validation={"fraction": 0.25})
        bits.append([array.tobytes() for array in (*training(data), *validation(data))])
        assert np.load(data.folder / "training_x.npy").dtype == np.float32
    assert bits[0] == bits[1] == bits[2]


def test_the_bits_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rows = 3 * WINDOW_ROWS + 1
    columns: dict[str, tuple[Any, Any]] = {
        "a": ("number", random.normal(size=rows)),
        "b": ("number", [None if value < 0.1 else value for value in random.random(rows).tolist()]),
        "c": ("category", [f"{number}" for number in random.integers(0, 5, rows)]),
        "income": ("number", random.normal(size=rows)),
    }
    table = write_table(tmp_path / "t.arrow", columns, batch_rows=10_000)
    written = set()
    for threads in (1, 2, 3):
        prepared(table, tmp_path / f"{threads}", threads=threads, validation={"fraction": 0.25})
        written.add(tuple((path.name, path.read_bytes()) for path in sorted((tmp_path / f"{threads}").iterdir())))
    assert len(written) == 1


def test_predictions_see_what_training_saw(tmp_path: Path) -> None:
    data = prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p")
    rows = [
        {"age": AGES[n], "job": JOBS[n], "image": IMAGES[n].tolist(), "signal": SIGNALS[n].tolist(), "size": SIZES[n]}
        for n in range(ROWS)
    ]
    again = np.empty((ROWS, data.preprocessing.inputs), np.float32)
    data.preprocessing.encode_features(columns_from_rows(rows, data.preprocessing), again)
    assert again.tobytes() == training(data)[0].tobytes()


def test_a_regression_is_standardized_and_can_be_mapped_back(tmp_path: Path) -> None:
    data = prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p", target=["size"], dtype="float64")
    _, y = training(data, "float64")
    assert y.shape == (ROWS, 1)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-12)
    values = [prediction["value"] for prediction in data.preprocessing.decode(np.asarray(y))]
    np.testing.assert_allclose(values, SIZES, rtol=1e-12, atol=1e-9)


def test_nothing_is_standardized_where_it_was_not_asked_for(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.arrow")
    options = {"preprocessing": {"standardize": False}, "dtype": "float64", "features": ["age", "image"]}
    data = prepared(table, tmp_path / "p", target="size", **options)
    x, y = training(data, "float64")
    known = [age for age in AGES if age is not None]
    assert x[1:7, 0].tolist() == AGES[1:7]
    assert x[0, 0] == pytest.approx(np.mean(known))
    assert x[:, 1:].tolist() == IMAGES.reshape(ROWS, 6).tolist()
    assert y[:, 0].tolist() == SIZES


def test_a_validation_data_set_is_encoded_by_what_training_fitted(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.arrow")
    other = table_of(
        tmp_path / "v.arrow",
        job=("text", ["new", "job 1"] * 100),
        income=("text", [">50K"] * ROWS),
        size=("integer", [None] * ROWS),
    )
    data = prepared(table, tmp_path / "p", other, validation={"dataset": "v"}, dtype="float64")
    x, y = validation(data, "float64")
    assert x[0, 1:7].tolist() == [0] * 6
    assert x[1, 1:7].tolist() == [0, 1, 0, 0, 0, 0]
    assert set(x[:, -1].tolist()) == {0.0}
    assert set(y.tolist()) == {1}


@pytest.mark.parametrize(
    ("kind", "values", "codes"),
    [
        ("integer", [7, 3, 7, 10], [1, 0, 1, 2]),
        ("number", [0.5, 0.25, 0.5, 1.0], [1, 0, 1, 2]),
        ("boolean", [True, False, True, True], [1, 0, 1, 1]),
        ("text", ["b", "a", "b", "c"], [1, 0, 1, 2]),
        ("integer", [2**62, 2**62 + 1, 2**62, 0], [1, 2, 1, 0]),
    ],
)
def test_classes_of_any_type_become_codes_in_order(kind: str, values: Any, codes: list[int], tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.arrow", {"x": ("number", [0.0] * 4), "y": (kind, values)})
    data = prepared(table, tmp_path / "p", target="y", task="classification")
    assert training(data)[1].tolist() == codes
    assert [(data.preprocessing.classes or ())[code] for code in codes] == values


def test_what_is_prepared_is_used_again_and_what_is_stale_is_not(tmp_path: Path) -> None:
    table, folder = table_of(tmp_path / "t.arrow"), tmp_path / "p"
    prepared(table, folder)
    written = (folder / "training_x.npy").stat().st_mtime_ns
    assert training(prepared(table, folder))[0].shape == (ROWS, 18)
    assert (folder / "training_x.npy").stat().st_mtime_ns == written
    assert training(prepared(table, folder, features=["age"]))[0].shape == (ROWS, 1)


def test_half_prepared_data_are_made_anew(tmp_path: Path) -> None:
    table, folder = table_of(tmp_path / "t.arrow"), tmp_path / "p"
    whole = training(prepared(table, folder))[0].tobytes()
    (folder / "prepared.json").unlink()
    (folder / "training_x.npy").write_bytes(b"half")
    with pytest.raises(PreparedGone, match="gone"):
        PreparedData.load(folder)
    assert training(prepared(table, folder))[0].tobytes() == whole


@pytest.mark.parametrize("name", ["preprocessing.json", "prepared.json"])
def test_prepared_data_whose_description_is_cut_off_are_damaged(name: str, tmp_path: Path) -> None:
    prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p")
    os.truncate(tmp_path / "p" / name, 10)
    with pytest.raises(PreparedGone, match="damaged"):
        PreparedData.load(tmp_path / "p")


def test_loading_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    data = prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p", validation={"fraction": 0.1})
    again = PreparedData.load(tmp_path / "p")
    assert again == data
    assert (again.training_rows, again.validation_rows) == (180, 20)
    assert json.loads((tmp_path / "p" / "preprocessing.json").read_bytes())["task"] == "classification"


class Stopped(Exception):
    pass


class LookUp:
    """Counts how often it is called, and raises at one of these times."""

    def __init__(self, stop_at: int = 0) -> None:
        self.calls, self._stop_at = 0, stop_at

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self._stop_at:
            raise Stopped


@pytest.mark.parametrize("target", ["income", "size"])
def test_preparing_can_be_stopped_wherever_it_is(target: str, tmp_path: Path) -> None:
    """While it splits, takes moments, finds categories and classes, and writes either part."""
    table, folder = table_of(tmp_path / "t.arrow"), tmp_path / "p"
    spec = JobSpec.model_validate({"dataset": "d", "target": target, "validation": {"fraction": 0.25}})
    planned, looks = plan(spec, table, None), LookUp()
    prepare(planned, table, None, tmp_path / "whole", looks)
    assert looks.calls > 5
    for stop_at in range(1, looks.calls + 1):
        with pytest.raises(Stopped):
            prepare(planned, table, None, folder, LookUp(stop_at))
    prepare(planned, table, None, folder)
    assert contents(folder) == contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name", ["training_x.npy", "validation_y.npy", "preprocessing.json", "prepared.json", "training_y.npy"]
)
@pytest.mark.parametrize("half", [False, True])
def test_prepared_files_that_vanish_between_attempts_are_made_anew(name: str, half: bool, tmp_path: Path) -> None:
    table, folder, fields = table_of(tmp_path / "t.arrow"), tmp_path / "p", {"validation": {"fraction": 0.25}}
    prepared(table, folder, **fields)
    whole = contents(folder)
    (folder / name).unlink()
    if half:
        (folder / name).write_bytes(whole[name][: len(whole[name]) // 2])
    prepared(table, folder, **fields)
    assert contents(folder) == whole


@pytest.mark.parametrize("target", ["income", "job", "size"])
@pytest.mark.parametrize("features", [["age", "signal"], ["image"]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_much_room_is_asked_for_as_the_matrices_take_and_without_it_nothing_is_begun(
    target: str, features: list[str], dtype: str, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "t.arrow", job=("category", [f"job {row % 5}" for row in range(ROWS)]))
    fields = {"target": target, "features": features, "dtype": dtype, "validation": {"fraction": 0.25}}
    planned, looks = plan(JobSpec.model_validate({"dataset": "d", **fields}), table, None), LookUp()
    prepare(planned, table, None, tmp_path / "whole")
    written = sum(np.load(path).nbytes for path in (tmp_path / "whole").glob("*.npy"))
    with pytest.raises(OSError, match=f"No space left on device for {written:,} bytes"):
        prepare(planned, table, None, tmp_path / "p", looks, disk=SmallDisk(written - 1))
    assert (looks.calls, (tmp_path / "p").exists()) == (2, False), "before it began, and when it ended"
    prepare(planned, table, None, tmp_path / "p", disk=SmallDisk(written))


def test_what_others_write_meanwhile_ends_a_preparation_before_the_disk_is_full(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.arrow")
    planned = plan(JobSpec.model_validate({"dataset": "d", "target": "income"}), table, None)
    with pytest.raises(OSError, match="No space left on device"):
        prepare(planned, table, None, tmp_path / "p", disk=SmallDisk(1 << 30, 100))
    assert [path.name for path in tmp_path.iterdir()] == ["t.arrow"]


def test_what_is_prepared_needs_its_data_set_no_more_but_what_vanished_does(tmp_path: Path) -> None:
    table, folder = table_of(tmp_path / "t.arrow"), tmp_path / "p"
    planned = plan(JobSpec.model_validate({"dataset": "d", "target": "income"}), table, None)
    made = prepare(planned, table, None, folder)
    Path(table.path).unlink()
    assert prepare(planned, table, None, folder) == made
    (folder / "training_x.npy").unlink()
    with pytest.raises(DataMissing, match="data set ds_t is missing"):
        prepare(planned, table, None, folder)


def test_a_file_that_vanishes_while_it_is_fitted_is_told(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.arrow")
    planned = plan(JobSpec.model_validate({"dataset": "d", "target": "income"}), table, None)
    with pytest.raises(DataMissing, match="data set ds_t is missing"):
        prepare(planned, table, None, tmp_path / "p", lambda: Path(table.path).unlink(missing_ok=True))


def test_a_file_that_is_gone_or_damaged_is_told(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.arrow")
    planned = plan(JobSpec.model_validate({"dataset": "d", "target": "income"}), table, None)
    Path(table.path).write_bytes(b"rubbish")
    with pytest.raises(BadData, match="damaged"):
        prepare(planned, table, None, tmp_path / "p")
    Path(table.path).unlink()
    with pytest.raises(DataMissing, match="data set ds_t is missing"):
        prepare(planned, table, None, tmp_path / "p")


def test_a_data_set_that_is_cut_off_under_an_attempt_is_damaged_to_the_next_one(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.arrow", {"x": ("number", np.arange(1_000_000.0))})
    program = (
        "import os, sys; from shared.table import TableFile; from workers.columns import as_numbers, open_table\n"
        "table = TableFile.model_validate_json(sys.argv[1]); rows = open_table(table)\n"
        "os.truncate(table.path, 100_000); as_numbers(rows.column('x').slice(900_000)).sum()"
    )
    ended = subprocess.run([sys.executable, "-c", program, table.model_dump_json()], check=False)
    assert ended.returncode == -signal.SIGBUS  # which is a lost attempt, and tried again
    with pytest.raises(BadData, match="the file of data set ds_t is damaged"):
        open_table(table)


def test_a_prepared_matrix_that_is_cut_off_is_told_before_it_is_looked_at(tmp_path: Path) -> None:
    data = prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p")
    whole = (tmp_path / "p" / "training_x.npy").read_bytes()
    (tmp_path / "p" / "training_x.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PreparedGone, match="damaged: training_x"):
        data.open_training(np.dtype("float32"))


@pytest.mark.parametrize(("values", "standardize"), [([1e300] * 100 + [-1e300] * 100, True), ([1e300] * ROWS, False)])
def test_numbers_too_large_to_train_on_are_told_by_column(
    values: list[float], standardize: bool, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "t.arrow", size=("number", values))
    with pytest.raises(BadData, match="'size'"):
        prepared(table, tmp_path / "p", preprocessing={"standardize": standardize})


def test_an_uploaded_file_is_prepared_as_it_reads(tmp_path: Path) -> None:
    content = "age,job,ok,y\n20,a,true,1.5\n?,b,false,2.5\n40,?,?,3.5\n"
    table = ingest_bytes(content, tmp_path / "ds")
    data = prepared(table, tmp_path / "p", target="y", dtype="float64", preprocessing={"standardize": False})
    x, y = training(data, "float64")
    assert x.tolist() == [[20, 1, 0, 0, 1], [30, 0, 1, 0, 0], [40, 0, 0, 1, 0.5]]
    assert y.tolist() == [[1.5], [2.5], [3.5]]


# ---------------------------------------------------------------- images of bytes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_of_bytes_stay_bytes_on_disk_and_are_gathered_to_the_bits_of_a_prediction(
    dtype: str, tmp_path: Path
) -> None:
    flat = IMAGES.reshape(ROWS, 6)  # of rank 1: a mean and a scale for each element
    table = table_of(tmp_path / "t.arrow", flat=("tensor", flat))
    data = prepared(table, tmp_path / "p", features=["image", "flat"], validation={"fraction": 0.25}, dtype=dtype)
    assert [np.load(tmp_path / "p" / f"{part}_x.npy").dtype for part in ("training", "validation")] == ["u1", "u1"]
    asked = [{"image": image.tolist(), "flat": row.tolist()} for image, row in zip(IMAGES, flat, strict=True)]
    predicted = np.empty((ROWS, 12), dtype)
    data.preprocessing.encode_features(columns_from_rows(asked, data.preprocessing), predicted)
    for chosen, (x, _) in zip(
        rows_of(split(ROWS, 0.25, 0)), (training(data, dtype), validation(data, dtype)), strict=True
    ):
        assert x.dtype == dtype
        assert x.tobytes() == predicted[chosen].tobytes()


def test_bytes_are_not_kept_as_bytes_beside_other_features(tmp_path: Path) -> None:
    data = prepared(table_of(tmp_path / "t.arrow"), tmp_path / "p", features=["image", "age"])
    assert np.load(data.folder / "training_x.npy").dtype == np.float32


def test_numbers_may_validate_what_bytes_trained(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.arrow")
    other = table_of(tmp_path / "v.arrow", image=("tensor", IMAGES.astype(np.float64)))
    data = prepared(table, tmp_path / "p", other, features=["image"], validation={"dataset": "v"})
    assert validation(data)[0].tobytes() == training(data)[0].tobytes()
    assert np.load(data.folder / "validation_x.npy").dtype == np.float32
