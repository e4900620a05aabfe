"""From pydantic's errors to ours: one for each mistake, by the path that a user would write, with words for what is
expected that follow from the JSON schema of the field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.schema_words import Schema, branches, expectation, resolve
from shared.errors import GOT_LIMIT, FieldError, InvalidInput

__all__ = ["field_errors", "query_errors", "validated"]

MAX_ERRORS = 50  # mistakes that are told at once
OURS = frozenset({"printable", "distinct"})  # errors of our own validators, whose message is what is expected

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], data: Any) -> Model:
    """`data`, as parsed from JSON, as a `model`. Raises InvalidInput naming every field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = field_errors(error.errors(include_url=False), _schema_of(model), data)
        raise InvalidInput(found) from None


@lru_cache(maxsize=16)
def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def field_errors(errors: Sequence[ErrorDetails], schema: Schema, data: Any) -> list[FieldError]:
    """The mistakes in `data`, which pydantic told as `errors` of a model with that JSON schema."""
    found: dict[str, FieldError] = {}
    for error in errors:
        if len(found) == MAX_ERRORS:  # before the others are worded, which takes a millisecond for each
            break
        where = _walk(error["loc"], schema, data)
        if where is not None:
            told = _told(error, where)
            found.setdefault(told.field, told)
    return list(found.values())


# ---------------------------------------------------------------- where an error is
@dataclass(frozen=True)
class _Place:
    """A spot in the data: its path, the schema that holds there, the value."""

    path: str
    schema: Schema
    root: Schema
    value: Any
    siblings: tuple[str, ...] = ()
    """The fields that the object around it has."""
    is_union: bool = False
    """Whether the value was meant for none of the union's branches, or for one of no use to tell apart."""

    def child(self, key: str | int) -> "_Place":
        if isinstance(key, int):
            value = self.value[key] if isinstance(self.value, list) and key < len(self.value) else None
            return _Place(f"{self.path}[{key}]", self.schema.get("items", {}), self.root, value)
        value = self.value.get(key) if isinstance(self.value, Mapping) else None
        siblings = tuple(self.schema.get("properties", {}))
        return _Place(_join(self.path, key), _property(self.schema, key), self.root, value, siblings)

    def within(self, schema: Schema) -> "_Place":
        return replace(self, schema=schema)


def _property(schema: Schema, name: str) -> Schema:
    known = schema.get("properties", {}).get(name)
    if known is None:
        known = next(iter(schema.get("patternProperties", {}).values()), None)
    if known is None:
        other = schema.get("additionalProperties")
        known = other if isinstance(other, dict) else {}
    return dict(known)


def _walk(loc: Sequence[str | int], schema: Schema, data: Any) -> _Place | None:
    """The place that pydantic's `loc` means; None when it lies in a branch of a union that was not meant.

    In `loc`, keys and indices are mixed with the names of the branches of unions. The schema tells which is which.
    """
    place = _Place("", schema, schema, data)
    steps = list(loc)
    while True:
        place = place.within(resolve(place.schema, place.root))
        options = branches(place.schema, place.root)
        if len(options) > 1 and "discriminator" in place.schema:
            if not steps:
                return place
            target = place.schema["discriminator"]["mapping"][str(steps.pop(0))]
            place = place.within({"$ref": target})
        elif len(options) > 1:
            meant = _meant(options, place.value)
            if meant is None:
                return replace(place, is_union=True)
            if steps and any(_is_named(steps[0], option) for option in options):
                if not _is_named(steps.pop(0), meant):
                    return None
            elif meant.get("type") != "object":  # a short form, which pydantic saw only after it was written out
                return replace(place, is_union=True)
            place = place.within(meant)
        elif not steps:
            return place
        elif steps[0] == "[key]":
            return place.within({"key": True})
        else:
            place = place.child(steps.pop(0))


def _meant(options: Sequence[Schema], value: Any) -> Schema | None:
    """The branch of a union that a value was meant for: the one of its type; of several objects, the one that knows
    most of its keys."""
    fitting = [option for option in options if _fits(option, value)]
    if isinstance(value, Mapping):
        known = {number: len(value.keys() & option.get("properties", {})) for number, option in enumerate(fitting)}
        best = [number for number, count in known.items() if count == max(known.values())]
        return fitting[best[0]] if len(best) == 1 else None
    return fitting[0] if len(fitting) == 1 else None


def _fits(option: Schema, value: Any) -> bool:
    match option.get("type"):
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "integer" | "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
    return False


def _is_named(label: str | int, option: Schema) -> bool:
    """Whether `label` is what pydantic calls that branch of a union: a model's name, or a type within validators."""
    if isinstance(label, int):
        return False
    while label.startswith("function-"):  # function-after[_printable(), constrained-str]
        label = label.partition(", ")[2].removesuffix("]")
    kind = option.get("type")
    return (
        label == option.get("title")
        or (kind == "array" and label.startswith("list["))
        or (kind == "string" and label in ("str", "constrained-str"))
        or (kind == "integer" and label in ("int", "constrained-int"))
        or (kind == "number" and label in ("float", "constrained-float"))
        or (kind == "boolean" and label == "bool")
    )


# ---------------------------------------------------------------- what is said of it
def _told(error: ErrorDetails, place: _Place) -> FieldError:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "field":  # a validator of ours that looked at several fields
        return FieldError(_join(place.path, str(context["field"])), context["got"], error["msg"])
    if kind in OURS:
        return FieldError(place.path, place.value, error["msg"])
    if kind == "string_unicode":
        return FieldError(place.path, place.value, expectation(place.schema, place.root) + " without lone surrogates")
    if kind == "extra_forbidden" and not place.is_union:
        return FieldError(place.path, place.value, _no_such_field(place.path.rpartition(".")[2], place.siblings))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = place.schema["discriminator"]["propertyName"]
        got = place.value.get(tag) if isinstance(place.value, Mapping) else place.value
        names = ", ".join(place.schema["discriminator"]["mapping"])
        return FieldError(_join(place.path, tag), got, f"one of {names}")
    if "key" in place.schema:
        pattern = context.get("pattern", "")
        return FieldError(place.path, place.path.rpartition(".")[2], f"a key that matches {pattern}")
    return FieldError(place.path or "body", place.value, expectation(place.schema, place.root))


def _no_such_field(name: str, there_are: Sequence[str]) -> str:
    close = get_close_matches(name[:GOT_LIMIT], there_are, n=1)
    hint = f"did you mean {close[0]}? There" if close else "there"
    return f"no such field; {hint} are {', '.join(there_are)}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# ---------------------------------------------------------------- parameters of the query, the path and the header
def query_errors(errors: Sequence[Any]) -> list[FieldError]:
    """The mistakes in a request's parameters, which FastAPI told: what is expected follows from the limit broken."""
    found = []
    for error in errors:
        where, *path = error["loc"]
        field = "".join(f"[{step}]" if isinstance(step, int) else step for step in path) or str(where)
        found.append(FieldError(field, None if error["type"] == "missing" else error["input"], _limit(error)))
    return found


def _limit(error: Mapping[str, Any]) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "a value"
        case "enum" | "literal_error":
            return f"one of {context['expected']}".replace("'", "").replace(" or ", ", ")
        case "bool_parsing" | "bool_type":
            return "true or false"
        case "int_parsing" | "int_type" | "int_parsing_size":
            return "an integer"
        case "greater_than_equal":
            return f"an integer of at least {context['ge']:,}"
        case "less_than_equal":
            return f"an integer of at most {context['le']:,}"
        case "too_long":
            return f"at most {context['max_length']:,} of them"
        case "string_too_short":
            return f"text of at least {context['min_length']:,} characters"
        case "string_too_long":
            return f"text of at most {context['max_length']:,} characters"
    return str(error["msg"])
