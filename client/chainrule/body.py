"""What is sent as JSON; what is none is said field by field, as the service would."""

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from chainrule.errors import FieldProblem, InvalidInput

__all__ = ["json_body", "json_text"]


def json_body(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A request's body and headers. Raises InvalidInput as `json_text`."""
    return {"content": json_text(document), "headers": {"Content-Type": "application/json", **(headers or {})}}


def json_text(value: Any, at: str = "") -> bytes:
    """The value, which stands in the field `at`, as JSON; numbers may be numpy's, or decimals.

    Raises InvalidInput naming each field with what is no JSON: NaN, infinity, a set, an array, ….
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_scalar).encode()
    except (TypeError, ValueError):
        raise InvalidInput(list(_problems(value, at))) from None


def _problems(value: Any, at: str) -> Iterator[FieldProblem]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str | int | float | None):
                yield from _problems(inner, f"{at}.{key}" if at else str(key))
            else:
                yield FieldProblem(at, key, "names that are strings")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _problems(inner, f"{at}[{number}]")
    elif isinstance(number := _python(value), float) and not math.isfinite(number):
        yield FieldProblem(at, number, "a finite number")
    elif not isinstance(number, str | int | float | None):
        expected = "a number, a string, true, false, None, or a list or dictionary of these"
        yield FieldProblem(at, type(value).__name__, expected)


def _python(value: Any) -> Any:
    """A scalar of numpy, or a decimal, as a number that JSON has; anything else as it is."""
    if isinstance(value, Decimal):
        return float(value)
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _scalar(value: Any) -> Any:
    if (scalar := _python(value)) is value:
        raise TypeError(f"got {type(value).__name__}, which is no JSON")
    return scalar
