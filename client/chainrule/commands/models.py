"""Commands on trained models: predict and download."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from chainrule.commands.jobs import JobId
from chainrule.errors import ChainruleError, InvalidFile
from chainrule.session import Json, Session, print_json

if TYPE_CHECKING:
    from chainrule.records import Prediction

SHOWN_ROWS = 50  # in a terminal


def predict(
    ctx: typer.Context,
    job_id: JobId,
    file: Annotated[
        Path, typer.Argument(help="A .csv or .csv.gz file with a header; columns that the model lacks are left out.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here: .csv, or .json.")] = None,
    delimiter: Annotated[str, typer.Option(help="What stands between two cells of the file.")] = ",",
    missing: Annotated[list[str] | None, typer.Option(help="A further cell that means no value. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Predict each row of a CSV file with a job's model: a table, or CSV when the output is not a terminal."""
    from chainrule.rows import MISSING, read_rows

    if output is not None and output.suffix not in (".csv", ".json"):
        raise InvalidFile(f"--output: got {output}, expected a file that ends in .csv or .json")
    session = ctx.ensure_object(Session)
    with session.client() as client:
        features = _features(client.model_metadata(job_id))
        rows = read_rows(file, features, delimiter=delimiter, missing=MISSING.union(missing or ()))
        predictions = client.predict(job_id, rows)
    if output is not None:
        _write(output, predictions)
        typer.echo(f"{len(predictions):,} predictions in {output}", err=True)
    elif as_json:
        print_json(_document(predictions))
    elif sys.stdout.isatty():
        _print_table(session, predictions)
    else:
        _write_csv(sys.stdout, predictions)


def _features(metadata: dict[str, str]) -> dict[str, str]:
    """The model's feature columns and their types, in order. The model itself says them: data sets come and go."""
    try:
        return {feature["name"]: feature["type"] for feature in json.loads(metadata["preprocessing"])["features"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ChainruleError(
            "the model does not say which features it takes; is the service newer than this client?"
        ) from error


def _document(predictions: Sequence["Prediction"]) -> dict[str, Any]:
    """Predictions as the service answers them."""
    return {"predictions": [prediction.json for prediction in predictions]}


def _flat(predictions: Sequence["Prediction"]) -> tuple[list[str], list[list[Any]]]:
    """Predictions as a table: a column for the value (or each target's) and for each probability."""
    if not predictions:
        return ["value"], []
    first = predictions[0]
    targets = list(first.value) if isinstance(first.value, dict) else None
    classes = list(first.probabilities or {})
    names = (targets or ["value"]) + [f"probability {name}" for name in classes]
    lines = [
        ([line.value[name] for name in targets] if targets else [line.value])
        + [(line.probabilities or {})[name] for name in classes]
        for line in predictions
    ]
    return names, lines


def _write(path: Path, predictions: Sequence["Prediction"]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".json":
                json.dump(_document(predictions), file, ensure_ascii=False)
            else:
                _write_csv(file, predictions)
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be written: {error.strerror}") from error


def _write_csv(file: IO[str], predictions: Sequence["Prediction"]) -> None:
    names, lines = _flat(predictions)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(lines)


def _print_table(session: Session, predictions: Sequence["Prediction"]) -> None:
    from chainrule.show import predictions_table

    session.console().print(predictions_table(predictions[:SHOWN_ROWS]))
    if len(predictions) > SHOWN_ROWS:
        typer.echo(f"… and {len(predictions) - SHOWN_ROWS:,} more; --output FILE.csv writes them all", err=True)


def download(
    ctx: typer.Context,
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; by default ID.safetensors here.")
    ] = None,
) -> None:
    """Download a job's model, one safetensors file with its spec, preprocessing and digest in it."""
    # The id is what the user typed: only its last part may become a file's name.
    path = output or Path(f"{Path(job_id).name}.safetensors")
    with ctx.ensure_object(Session).client() as client:
        client.download_model(job_id, path)
    typer.echo(f"{path}: {path.stat().st_size:,} bytes")
