"""Plans are exact, and what cannot be trained is refused by its field before anything is allocated."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import DataMissing, FieldError, InvalidInput
from shared.plan import Plan
from shared.spec import JobSpec
from shared.table import TableFile
from support.tables import write_table
from workers.columns import open_table
from workers.planning import plan
from workers.remembering import MOST, remembered

COLUMNS: dict[str, tuple[Any, Any]] = {
    "age": ("integer", [20, None, 40, 50] * 3),
    "size": ("number", [float(n) for n in range(12)]),
    "job": ("category", ["x", "y", None, "z"] * 3),
    "owns": ("boolean", [True, False] * 6),
    "image": ("tensor", np.zeros((12, 2, 3), np.uint8)),
    "note": ("text", [f"note {n}" for n in range(12)]),
    "when": ("timestamp", [0] * 12),
    "void": ("number", [None] * 12),
    "alike": ("category", ["only"] * 12),
    "digit": ("integer", [0, 1, 2] * 4),
    "income": ("category", ["<=50K", ">50K"] * 6),
}


@pytest.fixture
def table(tmp_path: Path) -> TableFile:
    return write_table(tmp_path / "training.arrow", COLUMNS)


def spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"dataset": "d", "target": "income", **fields})


def mistake(table: TableFile, other: TableFile | None = None, /, **fields: Any) -> FieldError:
    with pytest.raises(InvalidInput) as refused:
        plan(spec(**fields), table, other)
    return refused.value.errors[0]


# ---------------------------------------------------------------- what is planned
def test_the_spec_is_filled_in_and_everything_counted(table: TableFile) -> None:
    layers = [{"type": "dense", "units": 5}, {"type": "dropout", "rate": 0.5}, {"type": "dense", "units": 3}]
    planned = plan(spec(layers=layers, batch_size=5, epochs=2), table, None)
    features = ["age", "size", "job", "owns", "image", "alike", "digit"]
    assert (planned.spec.task, planned.spec.loss.type) == ("classification", "cross_entropy")
    assert planned.spec.features == features
    inputs = 1 + 1 + 4 + 1 + 6 + 1 + 1
    assert (planned.inputs, planned.outputs, planned.classes) == (inputs, 1, 2)
    assert planned.parameters == (inputs + 1) * 5 + (5 + 1) * 3 + (3 + 1) * 1
    assert (planned.training_rows, planned.validation_rows) == (12, 0)
    assert (planned.steps_per_epoch, planned.steps) == (3, 6)


def test_the_next_plan_on_a_data_set_reads_none_of_its_rows_as_long_as_its_file_is_there(
    table: TableFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = write_table(tmp_path / "validation.arrow", COLUMNS)
    asked = spec(validation={"dataset": "v"})
    first, reads = plan(asked, table, validation), []
    for module in ("planning", "validating"):
        monkeypatch.setattr(f"workers.{module}.open_table", lambda file: reads.append(file) or open_table(file))
    assert plan(asked, table, validation) == first
    assert reads == []
    assert plan(spec(validation={"fraction": 0.25}), table, None).inputs <= first.inputs
    assert reads == [table], "other rows are trained on"
    Path(validation.path).unlink()
    with pytest.raises(DataMissing):
        plan(asked, table, validation)


def test_what_is_found_out_is_forgotten_in_the_end_and_found_out_anew(table: TableFile) -> None:
    found = []
    for number in (0, *range(MOST + 1), 0):
        remembered(table, number, partial(found.append, number))
    assert found == [0, *range(1, MOST + 1), 0]


def test_columns_left_out_are_noted_with_the_reason(table: TableFile) -> None:
    notes = " ".join(plan(spec(), table, None).notes)
    assert "'note' is left out: text" in notes
    assert "'when' is left out: timestamps" in notes
    assert "'void' is left out: all its values are missing" in notes
    assert "'age'" not in notes


@pytest.mark.parametrize(
    ("fields", "task", "loss", "outputs", "classes"),
    [
        ({"target": "owns"}, "classification", "cross_entropy", 1, 2),
        ({"target": "note"}, "classification", "cross_entropy", 12, 12),
        ({"target": "digit"}, "regression", "mse", 1, None),
        ({"target": "digit", "task": "classification"}, "classification", "cross_entropy", 3, 3),
        ({"target": "size", "loss": {"type": "huber"}}, "regression", "huber", 1, None),
        ({"target": ["size", "digit", "owns"]}, "regression", "mse", 3, None),
        ({"target": "owns", "task": "regression"}, "regression", "mse", 1, None),
    ],
)
def test_task_loss_and_outputs_follow_from_the_target(
    fields: dict[str, Any], task: str, loss: str, outputs: int, classes: int | None, table: TableFile
) -> None:
    planned = plan(spec(**fields), table, None)
    told = (planned.spec.task, planned.spec.loss.type, planned.outputs, planned.classes)
    assert told == (task, loss, outputs, classes)


def test_categories_are_those_of_the_training_rows(tmp_path: Path) -> None:
    values = [f"k{row}" for row in range(10)]
    table = write_table(tmp_path / "t.arrow", {"k": ("category", values), "y": ("number", [1.0] * 10)}, batch_rows=3)
    planned = plan(spec(target="y", validation={"fraction": 0.3}), table, None)
    assert (planned.training_rows, planned.validation_rows, planned.inputs) == (7, 3, 7)


def test_a_plan_of_a_plan_is_the_same(table: TableFile) -> None:
    planned = plan(spec(), table, None)
    again = plan(planned.spec, table, None)
    assert (again.spec, again.inputs) == (planned.spec, planned.inputs)
    assert Plan.model_validate_json(planned.model_dump_json()) == planned


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"target": "nope"}, "target"),
        ({"target": ["size", "nope"]}, "target[1]"),
        ({"target": ["size", "income"]}, "target[1]"),
        ({"target": "age"}, "target"),
        ({"target": "void"}, "target"),
        ({"target": "image"}, "target"),
        ({"target": "when"}, "target"),
        ({"target": "alike"}, "target"),
        ({"task": "regression"}, "task"),
        ({"target": ["size", "digit"], "task": "classification"}, "task"),
        ({"loss": {"type": "mse"}}, "loss"),
        ({"target": "size", "loss": {"type": "cross_entropy"}}, "loss"),
        ({"features": ["age", "nope"]}, "features[1]"),
        ({"features": ["age", "income"]}, "features[1]"),
        ({"features": ["note"]}, "features[0]"),
        ({"features": ["age", "when"]}, "features[1]"),
        ({"features": ["void"]}, "features[0]"),
        ({"features": ["size", "age"], "preprocessing": {"missing": "error"}}, "features[1]"),
        ({"preprocessing": {"missing": "error"}}, "preprocessing.missing"),
        ({"validation": {"fraction": 0.5}, "early_stopping": {"metric": "rmse"}}, "early_stopping.metric"),
        (
            {"target": "digit", "validation": {"fraction": 0.5}, "early_stopping": {"metric": "accuracy"}},
            "early_stopping.metric",
        ),
        (
            {"target": "note", "validation": {"fraction": 0.5}, "early_stopping": {"metric": "auc"}},
            "early_stopping.metric",
        ),
        ({"layers": [{"type": "dense", "units": 10}, {"type": "dense", "units": 1_000_000}] * 50}, "layers[99].units"),
        ({"layers": [{"type": "dense", "units": 100_000}] * 2}, "layers[1].units"),
        (
            {"features": ["size"], "initial_parameters": {"weights": [[[1.0]], [[1.0]]], "biases": [[0.0], [0.0]]}},
            "initial_parameters.weights",
        ),
        (
            {"features": ["size"], "initial_parameters": {"weights": [[[1.0], [2.0]]], "biases": [[0.0]]}},
            "initial_parameters.weights[0]",
        ),
    ],
)
def test_a_mistake_is_named_by_its_field(fields: dict[str, Any], field: str, table: TableFile) -> None:
    assert mistake(table, **fields).field == field


def test_a_category_is_no_mistake_where_missing_numbers_are(table: TableFile) -> None:
    planned = plan(spec(features=["job"], preprocessing={"missing": "error"}), table, None)
    assert planned.inputs == 4


def test_initial_parameters_that_fit_are_accepted(table: TableFile) -> None:
    given = {"weights": [[[0.5]]], "biases": [[0.0]]}
    assert plan(spec(features=["size"], initial_parameters=given), table, None).parameters == 2


def test_a_single_row_cannot_be_split(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.arrow", {"x": ("number", [1.0]), "y": ("number", [2.0])})
    assert mistake(table, target="y", validation={"fraction": 0.5}).field == "validation.fraction"
    assert plan(spec(target="y"), table, None).steps_per_epoch == 1


def test_no_column_to_learn_from_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.arrow", {"x": ("text", ["a", "b"]), "y": ("number", [1.0, 2.0])})
    assert mistake(table, target="y").field == "features"


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    rows = 1_001
    table = write_table(
        tmp_path / "t.arrow", {"x": ("number", [0.0] * rows), "y": ("number", [n / 7 for n in range(rows)])}
    )
    assert mistake(table, target="y", task="classification").field == "target"


@pytest.mark.parametrize("layers", [[], [{"type": "dense", "units": 10_000}] * 3], ids=["steps", "work"])
def test_more_than_any_machine_can_do_is_refused(layers: list[Any], tmp_path: Path) -> None:
    rows = 10_000
    table = write_table(tmp_path / "t.arrow", {"x": ("number", [0.0] * rows), "y": ("number", [0.0] * rows)})
    batch_size = rows if layers else 1
    assert mistake(table, target="y", epochs=1_000_000, batch_size=batch_size, layers=layers).field == "epochs"


def test_memory_that_no_machine_has_is_refused_without_being_taken(tmp_path: Path) -> None:
    rows = 1_000_000
    columns = {"x": ("boolean", [True] * rows), "y": ("boolean", [True, False] * (rows // 2))}
    table = write_table(tmp_path / "t.arrow", columns)
    layers = [{"type": "dense", "units": 1_000_000}, {"type": "dense", "units": 100}]
    assert mistake(table, target="y", batch_size=rows, shards=1, layers=layers).field == "batch_size"


def test_images_of_bytes_are_counted_as_bytes_on_disk(tmp_path: Path) -> None:
    sizes = []
    for dtype in (np.uint8, np.float32):
        images = ("tensor", np.zeros((500, 28, 28), dtype))
        table = write_table(tmp_path / "t.arrow", {"image": images, "y": ("number", [0.0, 1.0] * 250)})
        sizes.append(plan(spec(target="y"), table, None).disk_bytes)
    assert sizes[1] - sizes[0] == 500 * 784 * 3


def test_a_file_that_is_gone_is_told(table: TableFile) -> None:
    Path(table.path).unlink()
    with pytest.raises(DataMissing, match="ds_training"):
        plan(spec(), table, None)


# ---------------------------------------------------------------- a data set to validate on
VALIDATED = {"dataset": "v"}


def validation_table(tmp_path: Path, **changed: Any) -> TableFile:
    return write_table(tmp_path / "validation.arrow", {**COLUMNS, **changed})


def test_a_validation_data_set_is_counted(table: TableFile, tmp_path: Path) -> None:
    planned = plan(spec(validation=VALIDATED), table, validation_table(tmp_path))
    assert (planned.training_rows, planned.validation_rows) == (12, 12)


@pytest.mark.parametrize(
    "changed",
    [
        {"job": ("text", ["never seen"] * 12)},
        {"age": ("number", [0.5] * 12)},
        {"job": ("number", [None] * 12)},
        {"note": ("number", [1.0] * 12)},
    ],
)
def test_columns_that_can_be_encoded_alike_are_accepted(
    changed: dict[str, Any], table: TableFile, tmp_path: Path
) -> None:
    assert plan(spec(validation=VALIDATED), table, validation_table(tmp_path, **changed)).validation_rows == 12


@pytest.mark.parametrize(
    "changed",
    [
        {"job": ("integer", [1] * 12)},
        {"image": ("tensor", np.zeros((12, 3, 2), np.uint8))},
        {"owns": ("integer", [1] * 12)},
        {"income": ("category", ["<=50K", "other"] * 6)},
        {"income": ("category", ["<=50K", None] * 6)},
    ],
)
def test_columns_that_differ_are_refused(changed: dict[str, Any], table: TableFile, tmp_path: Path) -> None:
    error = mistake(table, validation_table(tmp_path, **changed), validation=VALIDATED)
    assert error.field == "validation.dataset"
    assert next(iter(changed)) in error.expected


def test_a_column_that_is_not_there_is_refused(table: TableFile, tmp_path: Path) -> None:
    columns = {name: column for name, column in COLUMNS.items() if name != "age"}
    validation = write_table(tmp_path / "v.arrow", columns)
    assert "'age'" in mistake(table, validation, validation=VALIDATED).expected


def test_auc_needs_both_classes_among_the_validation_rows(table: TableFile, tmp_path: Path) -> None:
    alike = validation_table(tmp_path, income=("category", [">50K"] * 12))
    stopping = {"early_stopping": {"metric": "auc"}}
    assert mistake(table, alike, validation=VALIDATED, **stopping).field == "early_stopping.metric"
    assert plan(spec(validation=VALIDATED, **stopping), table, validation_table(tmp_path)).classes == 2
