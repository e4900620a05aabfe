"""What Schemathesis cannot know of the API: which data sets there are, what good files look like, what must stay.

It changes right requests into such that name what is there, and leaves wrong ones alone.
"""

from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core import NotSet

from fuzz.excuses import is_excused
from fuzz.table import FILES, WEBHOOK_HOST, Seeded

SEEDED = Seeded.from_environment()
CURSOR = "MTI"  # of place 12


@schemathesis.serializer(*FILES)
def as_it_is(_context: schemathesis.SerializationContext, value: Any) -> Any:
    """The body of an upload."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def filter_case(_context: HookContext, case: Case[Any]) -> bool:
    """Removes nothing that the round itself needs, nor sets its own tenant's quota."""
    named = set(map(str, (case.path_parameters or {}).values()))
    return not (case.method in ("DELETE", "PUT") and named & SEEDED.kept)


@schemathesis.hook
def map_case(_context: HookContext, case: Case[Any]) -> Case[Any]:
    """Three of four uploads are good files, jobs and rows are of the data set that there is, cursors the service's."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    if "cursor" in (case.query or {}):
        case.query = {**case.query, "cursor": CURSOR}
    if not isinstance(case.body, NotSet):
        case.body = _right_body(case.operation.definition.raw.get("operationId"), case.media_type or "", case.body)
    return case


def _right_body(operation: str | None, media_type: str, body: Any) -> Any:
    match operation:
        case "add_dataset" if isinstance(body, str | bytes) and len(body) % 4:
            return FILES.get(media_type, body)
        case "submit_job" if isinstance(body, dict):
            return _of_the_data_set(_plain(body))
        case "add_webhook" | "change_webhook" if isinstance(body, dict) and isinstance(body.get("url"), str):
            return {**_plain(body), "url": f"https://{WEBHOOK_HOST}/hooks"}
        case "predict" if isinstance(body, dict) and isinstance(body.get("rows"), list):
            return {**body, "rows": [_with_the_features(row) for row in body["rows"]]}
    return _plain(body)


def _plain(value: Any) -> Any:
    """JSON Schema takes 3.0 for an integer, and the service does not: it would have to guess what was meant."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
    return value


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Any, case: Case[Any], response: Response) -> bool:
    """Drops what is no failure of the service's."""
    operation = case.operation.definition.raw.get("operationId", "")
    return not is_excused(type(failure).__name__, failure.message, operation, response)


def _of_the_data_set(spec: dict[str, Any]) -> dict[str, Any]:
    """A job's spec on the data set that there is, where it names one and columns of it."""
    found = dict(spec)
    if isinstance(spec.get("dataset"), str):
        found["dataset"] = SEEDED.dataset
    if isinstance(spec.get("target"), str):
        found["target"] = SEEDED.target
    features = spec.get("features")
    if isinstance(features, list) and features and all(isinstance(name, str) for name in features):
        found["features"] = list(SEEDED.features)
    return found


def _with_the_features(row: Any) -> Any:
    """A row whose values are those of features of the data set."""
    if not isinstance(row, dict):
        return row
    values = [*row.values(), *[None] * len(SEEDED.features)]
    return dict(zip(SEEDED.features, values, strict=False))
