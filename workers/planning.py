"""Planning: checks a job spec against its data, completes it, and counts what training will cost."""

from collections.abc import Sequence
from typing import Any, Literal

from shared.errors import FieldError, InvalidInput
from shared.plan import Plan
from shared.randomness import Split
from shared.spec import AutoLoss, CrossEntropyLoss, JobSpec, MseLoss, ValidationDataset
from shared.table import Column, TableFile
from workers.columns import open_table, stored_dtype
from workers.costs import check_costs, costs_of
from workers.fitting import categories_of, classes_of, elements, split_of
from workers.remembering import remembered
from workers.validating import check_early_stopping, check_validation

__all__ = ["plan"]

Task = Literal["classification", "regression"]

CLASSIFIED = frozenset({"category", "boolean", "text"})  # a target of these types is a classification by default
REGRESSED = frozenset({"number", "integer", "boolean"})
MAX_ONE_HOT = 10_000  # categories of a feature
WITHOUT_USE = {"text": "text cannot be learned from", "timestamp": "timestamps cannot be learned from"}


def plan(spec: JobSpec, training: TableFile, validation: TableFile | None) -> Plan:
    """What `spec` means for its data, every default filled in; what `prepare` will do, but nothing is written.

    `validation` is the data set that `spec.validation` names, if it names one. Raises InvalidInput naming the field
    that is wrong, DataMissing when a data set's file is gone.
    """
    if isinstance(spec.validation, ValidationDataset) != (validation is not None):
        raise ValueError("a validation data set goes with a spec that names one")
    if training.rows < 1:
        raise InvalidInput.of("dataset", spec.dataset, "a data set with rows")
    targets = _targets(spec, training)
    task = _task(spec, targets)
    split = split_of(spec, training.rows)
    classes = _classes(training, targets[0]) if task == "classification" else None
    notes: list[str] = []
    features = _features(spec, training, notes)
    inputs = _inputs(features, training, split)
    outputs = len(targets) if classes is None else 1 if len(classes) == 2 else len(classes)
    filled = _filled(spec, task, features)
    if validation is not None:
        check_validation(filled, validation, features, targets, classes)
        check_early_stopping(filled, classes, validation, None)
    elif split is not None:
        check_early_stopping(filled, classes, training, split.validates)
    training_rows = training.rows if split is None else split.training_rows
    validation_rows = validation.rows if validation is not None else training.rows - training_rows
    stored_bytes = stored_dtype(training, filled).itemsize
    costs = costs_of(filled, inputs, outputs, training_rows, validation_rows, stored_bytes)
    check_costs(filled, costs)
    _check_initial_parameters(filled, inputs, outputs)
    if spec.workers.min > spec.shards:
        notes.append(f"workers: at most {spec.shards} of {spec.workers.min} can be busy, as shards is {spec.shards}")
    return Plan(
        spec=filled,
        inputs=inputs,
        outputs=outputs,
        classes=None if classes is None else len(classes),
        parameters=costs.parameters,
        training_rows=training_rows,
        validation_rows=validation_rows,
        steps_per_epoch=costs.steps_per_epoch,
        steps=costs.steps,
        memory_bytes=costs.memory_bytes,
        disk_bytes=costs.disk_bytes,
        notes=notes,
    )


def _filled(spec: JobSpec, task: Task, features: Sequence[Column]) -> JobSpec:
    loss = spec.loss
    if isinstance(loss, AutoLoss):
        loss = CrossEntropyLoss(type="cross_entropy") if task == "classification" else MseLoss(type="mse")
    elif (task == "classification") != isinstance(loss, CrossEntropyLoss):
        expected = "cross_entropy" if task == "classification" else "mse, mae or huber"
        raise InvalidInput.of("loss", loss.type, f"{expected}: this is a {task}")
    names = [column.name for column in features]
    return spec.model_copy(update={"task": task, "loss": loss, "features": names})


def _check_initial_parameters(spec: JobSpec, inputs: int, outputs: int) -> None:
    """Raises InvalidInput unless the parameters given fit the layers."""
    given, loss = spec.initial_parameters, spec.loss
    if given is not None and not isinstance(loss, AutoLoss):
        from shared.network import Network  # brings numba, which takes long to import and few specs need here

        Network(spec.layers, inputs, outputs, loss, spec.dtype).initial_parameters(spec.seed, given)


# ---------------------------------------------------------------- targets
def _classes(training: TableFile, target: Column) -> list[Any]:
    """The classes of a classification, in order. Raises InvalidInput."""
    return remembered(training, ("classes", target.name), lambda: classes_of(training, open_table(training), target))


def _targets(spec: JobSpec, training: TableFile) -> list[Column]:
    """The target columns. Raises InvalidInput for those that do not exist, lack values or cannot be learned."""
    found, errors = [], []
    for index, name in enumerate(spec.targets):
        field = "target" if isinstance(spec.target, str) else f"target[{index}]"
        column = training.column(name)
        if column is None:
            errors.append(FieldError(field, name, f"a column of the data set: {_some(training)}"))
        elif column.missing:
            expected = f"a column without missing values; {column.missing:,} of {training.rows:,} rows have none"
            errors.append(FieldError(field, name, expected))
        elif column.type in ("tensor", "timestamp") or (len(spec.targets) > 1 and column.type not in REGRESSED):
            expected = "number, integer or boolean" if len(spec.targets) > 1 else "any type but tensor or timestamp"
            errors.append(FieldError(field, name, f"a column of type {expected}; it is of type {column.type}"))
        else:
            found.append(column)
    if errors:
        raise InvalidInput(errors)
    return found


def _some(file: TableFile) -> str:
    names = [column.name for column in file.columns[:20]]
    return ", ".join(names) + (f" … ({len(file.columns):,} in all)" if len(file.columns) > len(names) else "")


def _task(spec: JobSpec, targets: Sequence[Column]) -> Task:
    if spec.task == "auto":
        return "classification" if len(targets) == 1 and targets[0].type in CLASSIFIED else "regression"
    if spec.task == "classification" and len(targets) > 1:
        raise InvalidInput.of("task", spec.task, "regression, or a single target")
    if spec.task == "regression" and targets[0].type not in REGRESSED:
        raise InvalidInput.of("task", spec.task, f"classification: the target is of type {targets[0].type}")
    return spec.task


# ---------------------------------------------------------------- features
def _features(spec: JobSpec, training: TableFile, notes: list[str]) -> list[Column]:
    """The feature columns: those asked for, else all that can be used, with a note on each that cannot."""
    if spec.features is not None:
        return _features_asked_for(spec, spec.features, training)
    found = []
    targets = set(spec.targets)
    for column in training.columns:
        if column.name in targets:
            continue
        problem = _problem(column, training)
        if problem is None:
            found.append(column)
            _check_missing(column, spec, "preprocessing.missing", "error")
        else:
            notes.append(f"features: {column.name!r} is left out: {problem}")
    if not found:
        raise InvalidInput.of("features", None, "a data set with a column to learn from; " + "; ".join(notes))
    return found


def _features_asked_for(spec: JobSpec, names: Sequence[str], training: TableFile) -> list[Column]:
    columns = {column.name: column for column in training.columns}
    targets = set(spec.targets)
    found, errors = [], []
    for index, name in enumerate(names):
        column = columns.get(name)
        if column is None:
            errors.append(FieldError(f"features[{index}]", name, f"a column of the data set: {_some(training)}"))
        elif name in targets:
            errors.append(FieldError(f"features[{index}]", name, "a column that is not a target"))
        elif (problem := _problem(column, training)) is not None:
            errors.append(FieldError(f"features[{index}]", name, f"a column that can be learned from: {problem}"))
        else:
            found.append(column)
            _check_missing(column, spec, f"features[{index}]", name)
    if errors:
        raise InvalidInput(errors)
    return found


def _check_missing(column: Column, spec: JobSpec, field: str, got: str) -> None:
    """Raises InvalidInput for missing numbers where they are an error."""
    if column.missing and spec.preprocessing.missing == "error" and column.type != "category":
        expected = (
            f"no missing values or preprocessing.missing = mean; column {column.name!r} misses {column.missing:,}"
        )
        raise InvalidInput.of(field, got, expected)


def _problem(column: Column, training: TableFile) -> str | None:
    """Why a column cannot be learned from; None if it can."""
    if column.type in WITHOUT_USE:
        return WITHOUT_USE[column.type]
    if column.missing == training.rows:
        return "all its values are missing"
    categories = len(training.categories.get(column.name, ()))
    if categories > MAX_ONE_HOT:
        return f"it has {categories:,} categories, more than {MAX_ONE_HOT:,}"
    return None


def _inputs(features: Sequence[Column], training: TableFile, split: Split | None) -> int:
    """How many inputs the network has: one for a number, one for each category and for each element of a tensor."""
    categorical = [column for column in features if column.type == "category"]

    def count() -> int:
        found = categories_of(training, open_table(training), categorical, None if split is None else split.trains)
        return sum(len(categories) + missing for categories, missing in found.values())

    names = tuple(column.name for column in categorical)
    one_hot = remembered(
        training, ("inputs", names, None if split is None else (split.validation_rows, split.seed)), count
    )
    return one_hot + sum(elements(column) for column in features if column.type != "category")
