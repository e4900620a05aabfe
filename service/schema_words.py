"""What a JSON schema allows, in words: "an integer from 1 to 1,000,000"."""

from typing import Any

__all__ = ["Schema", "branches", "expectation", "resolve"]

Schema = dict[str, Any]


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema itself: references followed, and of "this or null" this, with `nullable` set."""
    while "$ref" in schema:
        schema = _definition(schema["$ref"], root)
    for union in ("anyOf", "oneOf"):
        options = schema.get(union, [])
        others = [option for option in options if option.get("type") != "null"]
        if len(others) < len(options):
            rest = {key: value for key, value in schema.items() if key not in (union, "default", "title")}
            if len(others) == 1:
                return {**rest, **resolve(others[0], root), "nullable": True}
            return {**rest, union: others, "nullable": True}
    return schema


def _definition(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def branches(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a resolved schema: those of a union, else the schema alone."""
    options = schema.get("anyOf") or schema.get("oneOf")
    return [resolve(option, root) for option in options] if options else [schema]


def expectation(schema: Schema, root: Schema) -> str:
    """What the schema allows, in words that follow "expected"."""
    schema = resolve(schema, root)
    words = " or ".join(dict.fromkeys(_words(option, root) for option in branches(schema, root)))
    if "discriminator" in schema:
        names = ", ".join(schema["discriminator"]["mapping"])
        words = f"an object whose {schema['discriminator']['propertyName']} is one of {names}"
    return f"{words}, or null" if schema.get("nullable") else words


def _words(schema: Schema, root: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    match schema.get("type"):
        case "integer":
            return "an integer" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "boolean":
            return "true or false"
        case "string":
            return _text(schema)
        case "array":
            each = expectation(schema.get("items", {}), root)
            return f"a list{_count(schema, 'minItems', 'maxItems', ' of', '')}, each {each}"
        case "object":
            return _object(schema)
    return "a value that can be read"


def _text(schema: Schema) -> str:
    if "pattern" in schema and "maxLength" not in schema:
        return f"text that matches {schema['pattern']}"
    return "text" + _count(schema, "minLength", "maxLength", " of", " characters")


def _object(schema: Schema) -> str:
    names = schema.get("properties")
    if not names:
        return "an object" + _count(schema, "minProperties", "maxProperties", " of", " fields")
    required = set(schema.get("required", ()))
    optional = [name for name in names if name not in required]
    told = [name for name in names if name in required]
    words = f"an object with {', '.join(told)}" if told else "an object"
    if optional:
        words += f"{' and' if told else ' with'} optionally {', '.join(optional)}"
    return words


def _range(schema: Schema) -> str:
    low, high, above, below = (
        _number(schema[key]) if key in schema else None
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    )
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = []
    if low is not None or above is not None:
        bounds.append(f"of at least {low}" if low else f"above {above}")
    if high is not None or below is not None:
        bounds.append(f"at most {high}" if high else f"below {below}")
    return " " + " and ".join(bounds) if bounds else ""


def _count(schema: Schema, low_key: str, high_key: str, before: str, unit: str) -> str:
    low, high = schema.get(low_key), schema.get(high_key)
    if low is not None and high is not None:
        return f"{before} {low:,} to {high:,}{unit}"
    if low is not None:
        return f"{before} at least {low:,}{unit}"
    return f"{before} at most {high:,}{unit}" if high is not None else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,g}"
